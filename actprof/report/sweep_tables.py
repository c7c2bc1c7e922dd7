"""The tables of a sweep's report: all cells, tokens, CPU runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actprof.measuring.grounding import Grounding
from actprof.out_of_memory import OutOfMemory
from actprof.policies import policy_title, tokens_called
from actprof.prediction.attribution import largest_first
from actprof.prediction.limits import gpu_time_text, limited_text
from actprof.report.arrange import Setup, share_of_device
from actprof.report.parts import NOTHING, Entry, Row, Table, columns, rows
from actprof.report.sentences import say_why
from actprof.results import ComponentSize, Result, Verdict
from actprof.units import format_bytes, format_seconds
from actprof.words import (
    COMPONENT_HEADS,
    VERDICT_WORDS,
    allocator_text,
    cameras_text,
    capital,
    cell_command,
    component_rows,
    gib,
    images_text,
    limit_text,
    percent,
    rate_text,
)

_UNKNOWN = Entry("", "n", sort=-1)


def table_cells(setups: Sequence[Setup]) -> Table:
    """Return a row per cell, setup by setup, line by line; setup and speed only where there are any."""
    named = len(setups) > 1
    timed = any(result.step_seconds for setup in setups for result in setup.results)
    tokens = any(line.tokens for setup in setups for line in setup.lines)
    names = (
        *(["Setup"] if named else []),
        "Resolution", "Cameras", "Batch", "Allocator", "Verdict", "Process GiB", "% of GPU", "Reserved GiB",
        "Allocated GiB", "Headroom GiB", "Largest batch",
        *(["Tokens"] if tokens else []), "Flushes",
        *(("Step ms", "Samples/s") if timed else ()),
    )  # fmt: skip
    cells = [
        _row(result, setup.name if named else None, timed=timed, tokens=tokens)
        for setup in setups
        for result in setup.results
    ]
    heads = tuple((name, "whole" if name == "Samples/s" else css) for name, css in columns(*names))
    return Table("All runs", heads, tuple(cells), css="cells", box="tall", noun="run", sorts="none")


def table_tokens(setup: Setup) -> Table | None:
    """Return the policy's tokens by resolution and camera count; None where none are known."""
    tokens = {(line.resolution, line.cameras): line.tokens for line in setup.lines if line.tokens}
    if not tokens:
        return None
    most = max(tokens.values())
    called = capital(tokens_called(setup.results[0].cell.policy))
    lines = [
        (
            images_text(1, resolution),
            *(
                Entry(str(count), bar=round(count / most, 3))
                if (count := tokens.get((resolution, cameras)))
                else NOTHING
                for cameras in setup.cameras
            ),
        )
        for resolution in setup.resolutions
    ]
    return Table(
        called, columns("Resolution", *map(cameras_text, setup.cameras)), rows(lines), css="tokens",
        box="fit", caption=f"{called} by resolution and number of cameras", named=True,
    )  # fmt: skip


def table_components(components: Sequence[ComponentSize]) -> Table:
    """Return a policy's parameters by component, what is trained apart from what is frozen."""
    name, *numbers, dtype = COMPONENT_HEADS
    *lines, total = component_rows(components)
    sums = (*rows(lines), Row(total, css="sum"))
    heads = columns(name, numbers=numbers) + columns(dtype)
    return Table("Parameters by component", heads, sums, css="components", box="fit", named=True)


def table_groundings(groundings: Sequence[Grounding]) -> Table:
    """Return the CPU runs; tokens only where any policy reads some."""
    tokens = any(run.encoder_tokens for run in groundings)
    lines = [
        (
            policy_title(run.policy), cameras_text(run.cameras), images_text(run.cameras, run.resolution),
            str(run.batch_size),
            *([str(run.encoder_tokens or NOTHING)] if tokens else []), " x ".join(map(str, run.output_shape)),
            format_seconds(run.forward_seconds), format_seconds(run.backward_seconds),
            format_seconds(run.update_seconds), str(run.torch_threads),
        )
        for run in groundings
    ]  # fmt: skip
    numbers = ("Batch", *(["Tokens"] if tokens else []), "Output shape", "Forward", "Backward")
    numbers += ("Whole update", "Threads")
    return Table("CPU runs", columns("Policy", "Cameras", "Resolution", numbers=numbers), rows(lines))


def _number(text: str, value: float) -> Entry:
    return Entry(text, "n", sort=value)


def _row(result: Result, setup: str | None, *, timed: bool, tokens: bool) -> Row:
    cell = result.cell
    entries = (
        *([] if setup is None else [Entry(setup, sort=setup)]),
        Entry(
            images_text(cell.cameras, cell.resolution),
            sort=max((w * h for w, h in cell.frame_sizes), default=0),
        ),
        _number(str(cell.cameras), cell.cameras),
        _number(str(cell.batch_size), cell.batch_size),
        Entry(allocator_text(cell.alloc_conf), sort=cell.alloc_conf),
        Entry(VERDICT_WORDS.get(result.verdict, result.verdict), sort=result.verdict, badge=result.verdict),
        *_numbers(result, tokens=tokens),
        *(_speed(result) if timed else ()),
    )
    message = (("PyTorch's message", result.oom.message),) if result.oom and result.oom.message else ()
    texts = (*message, ("This run alone", cell_command(cell)))
    return Row(entries, verdict=result.verdict, facts=tuple(_details(result)), texts=texts)


def _numbers(result: Result, *, tokens: bool) -> tuple[Entry, ...]:
    share = share_of_device(result)
    if share is None:
        return (_UNKNOWN,) * (7 + tokens)
    limit = result.max_batch_size
    sizes = (result.peak_reserved_bytes, result.peak_allocated_bytes, result.headroom_bytes)
    return (
        _number(gib(result.peak_process_bytes), result.peak_process_bytes),
        _number(f"{100 * share:.0f}", round(share, 4)),
        *(_number(gib(size), size) for size in sizes),
        _UNKNOWN if limit is None else _number(limit_text(limit).partition(" (")[0], limit),
        *([_number(str(result.encoder_tokens or ""), result.encoder_tokens)] if tokens else []),
        _number(str(result.retries), result.retries),
    )


def _speed(result: Result) -> tuple[Entry, ...]:
    """Return the median step and the rate; of a run that does not get through nobody has either."""
    seconds, rate = result.step_seconds, result.samples_per_second
    if seconds is None or rate is None or result.verdict == Verdict.OOM:
        return (_UNKNOWN,) * 2
    step = 1000 * seconds.median
    return _number(f"{step:.{1 if step < 100 else 0}f}", seconds.median), _number(rate_text(rate), rate)


def _details(result: Result) -> Iterator[tuple[str, str]]:
    if result.reason:
        yield "Why", say_why(result)
    if oom := result.oom:
        yield "Where", f"step {oom.step}, {oom.phase} phase"
        yield "Module", oom.module or "outside the policy"
        if oom.op:
            yield "Op", oom.op
        yield "Asked for", asked_for(oom)
        yield "In memory", held_text(oom)
    if held := result.breakdown:
        moment = "When it ran out" if oom else "At the peak"
        kinds = [f"{kind} {format_bytes(size)}" for kind, size in largest_first(held.by_kind).items()]
        yield f"{moment} ({held.phase})", ", ".join(kinds[:5])
    yield from _say_speed(result)
    if result.parameters:
        yield "Parameters", f"{result.parameters:,}"
    yield "Source", result.source


def _say_speed(result: Result) -> Iterator[tuple[str, str]]:
    """Yield what a step takes and what it waits for; nothing where the GPU's speed is not known."""
    seconds, rate, work = result.step_seconds, result.samples_per_second, result.work
    if seconds is None or rate is None or work is None:
        return
    band = f"{format_seconds(seconds.low)} to {format_seconds(seconds.high)}"
    step = f"{format_seconds(seconds.median)} ({band}), {rate_text(rate)} samples/s"
    launches = f"{result.kernel_launches:,} kernel launches"
    flops = f"{result.flops_per_sample / 1e9:.0f} GFLOP per sample"
    busy = f"GPU busy {percent(work.busy_share, 1)}"
    yield ("Step, if it fitted" if result.oom else "Step, predicted"), step
    yield "Limited by", f"{limited_text(result)}; {launches}, {flops}, {busy}"
    if goes := gpu_time_text(work):
        yield "GPU time", goes


def asked_for(oom: OutOfMemory) -> str:
    """Return both sizes; of a real run only the segment's is known, which PyTorch's message names."""
    requested, segment = format_bytes(oom.requested_bytes), format_bytes(oom.segment_bytes)
    return segment if not oom.requested_bytes else f"{requested}, which takes {segment}"


def held_text(oom: OutOfMemory) -> str:
    """Return what the process held when it ran out."""
    return f"{format_bytes(oom.allocated_bytes)} allocated, {format_bytes(oom.reserved_bytes)} reserved"
