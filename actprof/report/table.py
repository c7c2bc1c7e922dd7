"""The tables of the page as records of plain text (jinja2 escapes it): all cells, tokens, CPU runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.prediction.limits import limit_shares
from actprof.report.arrange import Setup, share_of_device
from actprof.results import Verdict
from actprof.units import MIB, format_bytes, format_seconds
from actprof.words import (
    VERDICT_WORDS,
    allocator_text,
    cameras_text,
    gib,
    limit_text,
    percent,
    predict_command,
    rate_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actprof.measuring.grounding import Grounding
    from actprof.out_of_memory import OutOfMemory
    from actprof.results import Result


@dataclass(frozen=True, slots=True)
class Field:
    """One entry of a row: what it shows, by what it sorts, and whether it is a number."""

    text: str
    sort: float | str
    is_number: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One cell: its fields in the order of `columns`, its verdict, and what unfolds below it."""

    fields: tuple[Field, ...]
    verdict: str
    details: tuple[tuple[str, str], ...]
    message: str
    command: str


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One resolution: (tokens as text, share of the largest count) per camera count; None where not run."""

    resolution: str
    counts: tuple[tuple[str, float] | None, ...]


def columns(setups: Sequence[Setup]) -> tuple[str, ...]:
    """Return the headers of the table of all cells; setup and speed only where there are any to tell."""
    return (
        *(["Setup"] if len(setups) > 1 else []),
        "Resolution", "Cameras", "Batch", "Allocator", "Verdict", "Process GiB", "% of GPU", "Reserved GiB",
        "Allocated GiB", "Headroom GiB", "Largest batch", "Tokens", "Flushes",
        *(("Step ms", "Samples/s") if _any_timed(setups) else ()),
    )  # fmt: skip


def list_rows(setups: Sequence[Setup]) -> list[Row]:
    """Return one row per cell, setup by setup, line by line."""
    named, timed = len(setups) > 1, _any_timed(setups)
    return [_row(setup, result, named=named, timed=timed) for setup in setups for result in setup.results]


def list_tokens(setup: Setup) -> list[TokenRow]:
    """Return the encoder tokens by resolution and camera count; empty when none is known."""
    tokens = {(line.resolution, line.cameras): line.tokens for line in setup.lines if line.tokens}
    most = max(tokens.values(), default=0)
    return [
        TokenRow(
            resolution,
            tuple(
                (str(count), round(count / most, 3)) if (count := tokens.get((resolution, cameras))) else None
                for cameras in setup.cameras
            ),
        )
        for resolution in setup.resolutions
        if most
    ]


def list_groundings(groundings: Sequence[Grounding]) -> list[tuple[str, ...]]:
    """Return the CPU runs as rows of text, in the order of `GROUNDING_COLUMNS`."""
    return [
        (
            run.policy, cameras_text(run.cameras), run.resolution, str(run.batch_size),
            str(run.encoder_tokens), " x ".join(map(str, run.output_shape)),
            format_seconds(run.forward_seconds), format_seconds(run.backward_seconds),
            format_seconds(run.update_seconds), str(run.torch_threads),
        )
        for run in groundings
    ]  # fmt: skip


GROUNDING_COLUMNS = (
    "Policy", "Cameras", "Resolution", "Batch", "Tokens", "Output shape", "Forward", "Backward",
    "Whole update", "Threads",
)  # fmt: skip


def _any_timed(setups: Sequence[Setup]) -> bool:
    return any(result.step_seconds for setup in setups for result in setup.results)


def _row(setup: Setup, result: Result, *, named: bool, timed: bool) -> Row:
    cell = result.cell
    fields = (
        *([Field(setup.name, setup.name, is_number=False)] if named else []),
        Field(cell.resolution, cell.width * cell.height, is_number=False),
        Field(str(cell.cameras), cell.cameras),
        Field(str(cell.batch_size), cell.batch_size),
        Field(allocator_text(cell.alloc_conf), cell.alloc_conf, is_number=False),
        Field(VERDICT_WORDS.get(result.verdict, result.verdict), result.verdict, is_number=False),
        *_numbers(result),
        *(_speed(result) if timed else ()),
    )
    message = result.oom.message if result.oom else ""
    return Row(fields, result.verdict, tuple(_details(result)), message, predict_command(cell))


def _numbers(result: Result) -> tuple[Field, ...]:
    share = share_of_device(result)
    if share is None:
        return (Field("", -1),) * 8
    limit = result.max_batch_size
    sizes = (result.peak_reserved_bytes, result.peak_allocated_bytes, result.headroom_bytes)
    return (
        Field(gib(result.peak_process_bytes), result.peak_process_bytes),
        Field(f"{100 * share:.0f}", round(share, 4)),
        *(Field(gib(size), size) for size in sizes),
        Field("" if limit is None else limit_text(limit).partition(" (")[0], -1 if limit is None else limit),
        Field(str(result.encoder_tokens or ""), result.encoder_tokens),
        Field(str(result.retries), result.retries),
    )


def _speed(result: Result) -> tuple[Field, ...]:
    """Return the median step and the rate; of a run that does not get through nobody has either."""
    seconds, rate = result.step_seconds, result.samples_per_second
    if seconds is None or rate is None or result.verdict == Verdict.OOM:
        return (Field("", -1),) * 2
    step = 1000 * seconds.median
    return Field(f"{step:.{1 if step < 100 else 0}f}", seconds.median), Field(rate_text(rate), rate)


def asked_for(oom: OutOfMemory) -> str:
    """Return both sizes; of a real run only the segment's is known, which PyTorch's message names."""
    segment = format_bytes(oom.segment_bytes)
    return f"{oom.requested_bytes / MIB:.2f} MiB, which takes {segment}" if oom.requested_bytes else segment


def _details(result: Result) -> list[tuple[str, str]]:
    rows = [("Why", result.reason)] if result.reason else []
    if result.oom is not None:
        oom = result.oom
        rows += [
            ("Where", f"step {oom.step}, {oom.phase} phase"),
            ("Module", oom.module or "outside the policy"),
            *([("Op", oom.op)] if oom.op else []),
            ("Asked for", asked_for(oom)),
            (
                "Held",
                f"{format_bytes(oom.allocated_bytes)} allocated, {format_bytes(oom.reserved_bytes)} reserved",
            ),
        ]
    if result.breakdown is not None:
        largest = sorted(result.breakdown.by_kind.items(), key=lambda item: -item[1])[:5]
        moment = "When it ran out" if result.oom else "At the peak"
        held = ", ".join(f"{kind} {format_bytes(size)}" for kind, size in largest)
        rows.append((f"{moment} ({result.breakdown.phase})", held))
    rows += _say_speed(result)
    if result.parameters:
        rows.append(("Parameters", f"{result.parameters:,}"))
    return [*rows, ("Source", result.source)]


def _say_speed(result: Result) -> list[tuple[str, str]]:
    """Return what a step takes and what it waits for; nothing where the GPU's speed is not known."""
    seconds, rate, work = result.step_seconds, result.samples_per_second, result.work
    if seconds is None or rate is None or work is None:
        return []
    band = f"{format_seconds(seconds.low)} to {format_seconds(seconds.high)}"
    launches = f"{result.kernel_launches:,} launches"
    flops = f"{result.flops_per_sample / 1e9:.0f} GFLOP per sample"
    return [
        (
            "Step, if it fitted" if result.oom else "Step, predicted",
            f"{format_seconds(seconds.median)} ({band}), {rate_text(rate)} samples/s",
        ),
        (
            "Limited by",
            f"{limit_shares(result)}; {launches}, {flops}, the GPU is busy {percent(work.busy_share, 1)}",
        ),
    ]
