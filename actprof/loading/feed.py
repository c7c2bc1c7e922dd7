"""How loading and computing add up, and what keeps a training step fed: workers and cores by way of loading.

`lerobot_train` asks for a batch, then updates. Worker processes load while it updates, so that it waits only
for what loading takes longer; without workers it loads itself, and the two add up:

    data wait = max(0, loading - step)    with workers
    data wait = loading                   with none
    total     = step + data wait

`loading` is the time from one batch to the next when nobody computes in between. The start of an epoch, when
no batch is ready yet, is left out.

A measured row with workers decides where there is one. Elsewhere the row without workers is scaled: `n`
workers load `n` batches at once, as long as the cores suffice,

    workers needed = ceil(batch size * seconds of a sample / seconds of the step)
    cores needed   = batch size * processor seconds of a sample / seconds of the step

The processor seconds are those of all decoding threads, so that the second line holds whatever the decoder
does with threads. The training process needs a core of its own beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from actprof.errors import UsageError
from actprof.loading.rows import WARM, LoaderRow, Source

DATA, STEP = "data", "step"
_ROUNDING = 1e-9  # of a quotient that is a whole number but for its last bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """One training step with its loading.

    `step_seconds` are lerobot's `updt_s`, `data_wait_seconds` its `data_s`; `data_share` (0 to 1) is of the
    total, which is both. `samples_per_second` is None where the batch size is not known. `limited_by` is
    `data` where loading takes longer than the update, else `step`.
    """

    step_seconds: float
    data_wait_seconds: float
    total_seconds: float
    samples_per_second: float | None
    data_share: float
    limited_by: str


def combine(
    step_seconds: float, load_seconds: float, workers: int, *, batch_size: int | None = None
) -> Combined:
    """Return what a step of `step_seconds` takes when a batch can come every `load_seconds`.

    Raises:
        UsageError: seconds or workers below zero.
    """
    if workers < 0:
        raise UsageError(f"workers is {workers!r}; give the DataLoader's number of workers, 0 or more")
    if step_seconds < 0 or load_seconds < 0:
        raise UsageError(
            f"a step of {step_seconds} s and loading of {load_seconds} s: neither can be below zero"
        )
    wait = max(0.0, load_seconds - step_seconds) if workers else load_seconds
    total = step_seconds + wait
    return Combined(
        step_seconds=step_seconds,
        data_wait_seconds=wait,
        total_seconds=total,
        samples_per_second=batch_size / total if batch_size and total else None,
        data_share=wait / total if total else 0.0,
        limited_by=DATA if load_seconds > step_seconds else STEP,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Whether one way of loading keeps a step fed.

    Attributes:
        source: the way of loading.
        workers: the fewest that do; where it was not measured, the computed number.
        cores: processor cores that loading keeps busy then, for a step that never waits.
        is_measured: whether a row with that many workers was measured to keep up here.
        fits: whether it works on the cores that there are, one of them the training process's.
        samples_per_second: of the loop with the best that is possible on these cores.
        data_share: of the loop's time that is still waiting then.
    """

    source: Source
    workers: int
    cores: float
    is_measured: bool
    fits: bool
    samples_per_second: float
    data_share: float


def workers_needed(
    rows: Sequence[LoaderRow], step_seconds: float, cores: int, *, batch_size: int
) -> tuple[Feed, ...]:
    """Return, for each source that was measured without workers, what keeps a step of so many seconds fed.

    Those that work on `cores` cores come first, then by how long the loop waits and the cores that they
    need. Rows of other batch sizes count by their seconds per sample.

    Raises:
        UsageError: a step of no length, no cores or no batch.
    """
    if step_seconds <= 0 or cores < 1 or batch_size < 1:
        raise UsageError(
            f"a step of {step_seconds} s with batch size {batch_size} on {cores} cores cannot be; "
            "all three must be above zero"
        )
    known = [row for row in rows if row.cache == WARM and row.sample_seconds is not None]
    found = []
    for source in dict.fromkeys(row.source for row in known):
        own = [row for row in known if row.source == source]
        alone = [row for row in own if row.workers == 0]
        if alone:
            found.append(_feed(_nearest(alone, batch_size), own, step_seconds, cores, batch_size))
    return tuple(sorted(found, key=lambda feed: (not feed.fits, feed.data_share, feed.cores)))


def _feed(
    alone: LoaderRow, own: Sequence[LoaderRow], step_seconds: float, cores: int, batch_size: int
) -> Feed:
    sample = alone.sample_seconds or 0.0
    processor = alone.cpu_seconds if alone.cpu_seconds is not None else sample
    busy = batch_size * processor / step_seconds
    computed = max(1, math.ceil(batch_size * sample / step_seconds - _ROUNDING))
    periods = _periods(own, batch_size)
    keeping_up = [count for count, seconds in periods.items() if seconds <= step_seconds]
    refuted = not keeping_up and any(count >= computed for count in periods)
    free = max(cores - 1, 1)  # the training process computes on one
    fits = bool(keeping_up) or (busy <= free + _ROUNDING and not refuted)
    # scaled to the free cores, where no number of workers was measured
    best = min(periods.values(), default=max(batch_size * sample, busy * step_seconds) / free)
    loop = combine(step_seconds, min(best, step_seconds) if fits else best, 1, batch_size=batch_size)
    return Feed(
        source=alone.source,
        workers=min(keeping_up, default=computed),
        cores=busy,
        is_measured=bool(keeping_up),
        fits=fits,
        samples_per_second=loop.samples_per_second or 0.0,
        data_share=loop.data_share,
    )


def _periods(own: Sequence[LoaderRow], batch_size: int) -> dict[int, float]:
    """Return seconds from batch to batch by workers, of the measured rows that have some."""
    counts = sorted({row.workers for row in own if row.workers})
    nearest = (_nearest([row for row in own if row.workers == count], batch_size) for count in counts)
    return {row.workers: batch_size * (row.sample_seconds or 0.0) for row in nearest}


def _nearest(rows: Sequence[LoaderRow], batch_size: int) -> LoaderRow:
    return min(rows, key=lambda row: abs(row.batch_size - batch_size))
