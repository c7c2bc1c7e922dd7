"""A `Result` on the terminal: the answer in three lines, memory as bars, and what else a prediction says."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.advice.answer import (
    HEADLINES,
    Hours,
    advice_line,
    band_text,
    beyond_text,
    step_hours,
    subject,
    time_line,
    why_text,
)
from actprof.advice.suggest import Remedy
from actprof.cli.console import VERDICT_STYLES, boundary_text, plain_table
from actprof.cli.markdown import markdown_table, markdown_text
from actprof.out_of_memory import OutOfMemory
from actprof.policies import tokens_called
from actprof.prediction.attribution import rank_holders
from actprof.prediction.limits import gpu_time_text, limited_text, speed_text, what_helps
from actprof.prediction.several_gpus import process_text, sharding_text, together_text
from actprof.results import Result, Verdict
from actprof.units import format_bytes, format_seconds

_LABEL_WIDTH = 10
_SIZE_WIDTH = 12


def print_result(
    result: Result, console: Console, *, remedy: Remedy | None = None, steps: int | None = None
) -> None:
    """Print a prediction: the answer in three lines, the bars of memory, then the numbers behind it.

    `remedy` is what helps first, `steps` those of the whole run.
    """
    print_answer(result, console, remedy=remedy, hours=step_hours(result, steps))
    if result.verdict == Verdict.UNKNOWN:
        return
    console.print()
    print_bars(result, console)
    console.print()
    console.print(fact_table(_facts(result, remedy)))
    print_message(result, console)


def result_markdown(result: Result, *, remedy: Remedy | None = None, steps: int | None = None) -> str:
    """Return the answer and the numbers behind it in GitHub's Markdown, options as of `print_result`."""
    numbers = [
        (name, format_bytes(size))
        for name, size in (
            ("allocated", result.peak_allocated_bytes), ("reserved", result.peak_reserved_bytes),
            ("process", result.peak_process_bytes), ("capacity", result.gpu.capacity_bytes),
        )
        if size
    ]  # fmt: skip
    known = [] if result.verdict == Verdict.UNKNOWN else _facts(result, remedy)
    table = markdown_table(("", result.gpu.name), [*numbers, *known])
    return f"{answer_markdown(result, remedy=remedy, steps=steps)}\n\n{table}"


def answer_markdown(result: Result, *, remedy: Remedy | None = None, steps: int | None = None) -> str:
    """Return the three lines of the answer, and why, in GitHub's Markdown."""
    hours = step_hours(result, steps)
    texts = (f"{subject(result)}.", advice_line(result, remedy), time_line(result, hours), why_text(result))
    first, *others = map(markdown_text, texts)
    return "\n\n".join([f"**{HEADLINES[result.verdict]}** {first}", *filter(None, others)])


def print_answer(  # noqa: PLR0913 - each is told apart
    result: Result,
    console: Console,
    *,
    remedy: Remedy | None = None,
    hours: Hours | None = None,
    place: str = "",
    cost: str = "",
    instead: str = "",
    where: str = "actprof suggest says how",
) -> None:
    """Print the verdict, the best thing to do, and how long it takes, a line of each; then why.

    `instead` is to be done whatever the prediction would advise; `where` stands what is long.
    """
    headline = f"[{VERDICT_STYLES[result.verdict]}]{HEADLINES[result.verdict]}[/]"
    console.print(f"{headline} {escape(subject(result, place))}.")
    console.print(escape(instead or advice_line(result, remedy, where=where)))
    console.print(escape(time_line(result, hours, cost=cost)))
    if why := why_text(result):
        console.print(f"\n{escape(why)}")


def print_verdict(result: Result, console: Console, *, headline: str = "", place: str = "") -> None:
    """Print the verdict with its reason and, where memory runs out, PyTorch's message.

    A `headline` takes the place of the verdict's own, a `place` that of the question's GPU.
    """
    reason = f": {result.reason.rstrip('.')}" if result.reason else ""
    style, words = VERDICT_STYLES[result.verdict], headline or HEADLINES[result.verdict]
    console.print(f"[{style}]{words}[/] {escape(subject(result, place) + reason)}.")
    print_message(result, console)


def print_message(result: Result, console: Console) -> None:
    """Print PyTorch's message of a run whose memory runs out."""
    if result.oom is not None and result.oom.message:
        says = "PyTorch said:" if result.source == "measured" else "PyTorch will say:"
        console.print(f"\n[dim]{says}[/] {escape(oom_sentence(result.oom))}")


def print_bars(result: Result, console: Console) -> None:
    """Print the three memory numbers as bars against what the device has for this process."""
    capacity = result.gpu.capacity_bytes
    rows = (
        ("allocated", result.peak_allocated_bytes, "by tensors, in whole blocks"),
        ("reserved", result.peak_reserved_bytes, "by PyTorch, of the device"),
        ("process", result.peak_process_bytes, process_text(result.cell)),
    )
    most = max(capacity, result.peak_process_bytes)
    width = max(min(console.width, 100) - _LABEL_WIDTH - _SIZE_WIDTH - 31, 10)
    for label, size, what in rows:
        filled = round(size / most * width)
        limit = round(capacity / most * width)
        inside, beyond = min(filled, limit), max(filled - limit, 0)
        bar = f"[green]{'█' * inside}[/][red]{'█' * beyond}[/]"
        rest = "░" * max(limit - inside, 0) + " " * (width - max(filled, limit))
        console.print(f"{_labelled(label, size)}  {bar}[dim]{rest}[/]  [dim]{what}[/]", no_wrap=True)
    console.print(f"{_labelled('capacity', capacity)}  [dim]{escape(result.gpu.name)}[/]")
    if others := result.cell.used_by_others_bytes:
        console.print(f"{_labelled('others', others)}  [dim]held on the card by other programs[/]")
    if band := band_text(result):
        console.print(f"[dim]{band}[/]")
    for note in result.gpu.notes:
        console.print(f"[dim]{escape(note)}[/]")
    if result.source == "predicted" and most > capacity and not beyond_text(result):
        console.print("[dim]allocated, reserved and process are what it takes on a device without limit[/]")


def fact_table(facts: Iterable[tuple[str, str]] = ()) -> Table:
    """Return a table of names and texts."""
    table = plain_table(show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in facts:
        table.add_row(name, escape(text))
    return table


def oom_sentence(oom: OutOfMemory) -> str:
    """Return PyTorch's message without its advice on fragmentation."""
    return oom.message.partition(" If reserved but unallocated")[0]


def _labelled(label: str, size: int) -> str:
    return f"{label:<{_LABEL_WIDTH}}{format_bytes(size):>{_SIZE_WIDTH}}"


def _facts(result: Result, remedy: Remedy | None) -> list[tuple[str, str]]:
    return [
        *size_facts(result),
        ("parameters", parameters_text(result)),
        *holders_facts(result),
        *speed_facts(result, larger=remedy.after if remedy and remedy.family == "batch" else None),
        ("took", _took(result)),
    ]


def size_facts(result: Result) -> list[tuple[str, str]]:
    """Return what every prediction says of its size; a policy that reads no tokens has no row for them."""
    called = tokens_called(result.cell.policy)
    return [
        *several_gpus_facts(result),
        ("largest batch size", boundary_text(result)),
        ("headroom", _headroom(result.headroom_bytes)),
        *([(called, f"{result.encoder_tokens:,}")] if result.encoder_tokens else []),
    ]


def several_gpus_facts(result: Result) -> list[tuple[str, str]]:
    """Return what all GPUs of a run do together, and what sharding would change; none of a run with one."""
    if result.cell.world_size == 1:
        return []
    said = (together_text(result), sharding_text(result))
    return [(name, text) for name, text in zip(("all GPUs", "FSDP"), said, strict=True) if text]


def _headroom(size: int) -> str:
    return format_bytes(size) if size >= 0 else f"none: {format_bytes(-size)} too little"


def parameters_text(result: Result) -> str:
    """Return `450,046,176, of which 99,880,992 are trained`; the number alone where all are."""
    trained = sum(size.trainable for size in result.components)
    frozen = bool(result.components) and trained < result.parameters
    return f"{result.parameters:,}{f', of which {trained:,} are trained' if frozen else ''}"


def speed_facts(
    result: Result, *, limited_by: str = "", data_share: float = 0.0, larger: Result | None = None
) -> list[tuple[str, str]]:
    """Return what a step takes and waits for, as rows of facts; none when the GPU's speed is not known.

    `limited_by` is what the whole run waits for, `data_share` the share of its time spent waiting for data,
    `larger` what is predicted of a larger batch.
    """
    if result.work is None:
        return []
    work = f"{result.kernel_launches:,} kernel launches, {result.flops_per_sample / 1e9:.0f} GFLOP per sample"
    goes = gpu_time_text(result.work)
    helps = what_helps(limited_by or result.limited_by, result, larger=larger)
    return [
        ("step, if it fits" if result.oom else "step", f"{speed_text(result)}; {work}"),
        ("limited by", limited_text(result, limited_by=limited_by, data_share=data_share)),
        *([("GPU time", goes)] if goes else []),
        *zip(("faster with", "or with"), helps, strict=False),
    ]


def holders_facts(result: Result) -> list[tuple[str, str]]:
    """Return who holds most memory: activations by component, everything else by kind."""
    breakdown = result.breakdown
    if breakdown is None:
        return []
    whole = breakdown.allocated_bytes
    largest = rank_holders(breakdown.by_kind, breakdown.activations)[:5]
    said = [
        f"{holder.component} {holder.kind} {holder.bytes / whole:.0%}".strip()  # most have no component
        for holder in largest
        if holder.bytes >= whole / 100
    ]
    groups = breakdown.activations.get(largest[0].component, {}) if largest else {}
    if groups:
        name, size = max(groups.items(), key=lambda item: item[1])
        said[0] += f" ({name} {size / whole:.0%})"
    if not said:
        return []
    return [(f"memory {'where it runs out' if result.oom else 'at the peak'}", ", ".join(said))]


def _took(result: Result) -> str:
    timing = result.timing
    if timing.trace_shipped:
        made = result.versions
        trace = f"shipped trace (lerobot {made['lerobot']}, torch {made['torch']})"
    else:
        trace = "cached trace" if timing.trace_cached else f"traced in {format_seconds(timing.trace_seconds)}"
    return f"{trace}, replayed in {format_seconds(timing.replay_seconds)}"
