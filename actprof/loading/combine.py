"""How loading and computing add up in lerobot's training loop: a pure function.

`lerobot_train` asks for a batch, then updates. Worker processes load while it updates, so that it waits only
for what loading takes longer; without workers it loads itself, and the two add up:

    data wait = max(0, loading - step)    with workers
    data wait = loading                   with none
    total     = step + data wait

`loading` is the time from one batch to the next when nobody computes in between. The start of an epoch, when
no batch is ready yet, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from actprof.errors import UsageError
from actprof.loading.rows import LoaderRow

DATA, STEP = "data", "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """One training step with its loading.

    Attributes:
        step_seconds: of the update alone (lerobot's `updt_s`).
        data_wait_seconds: that the loop waits for its batch (lerobot's `data_s`).
        total_seconds: of both.
        samples_per_second: of the loop; None where the batch size is not known.
        data_share: of the total that is waiting, 0 to 1.
        limited_by: `data` where loading takes longer than the update, else `step`.
    """

    step_seconds: float
    data_wait_seconds: float
    total_seconds: float
    samples_per_second: float | None
    data_share: float
    limited_by: str


def combine(
    step_seconds: float, load: LoaderRow | float, workers: int | None = None, *, batch_size: int | None = None
) -> Combined:
    """Return what a step of `step_seconds` takes with its loading.

    Args:
        step_seconds: of the update alone.
        load: a measured row, or the seconds from one batch to the next.
        workers: of the DataLoader; those of the row if left out.
        batch_size: samples in a batch; the row's if left out.

    Raises:
        UsageError: seconds or workers below zero, a row without figures, or no number of workers.
    """
    if isinstance(load, LoaderRow):
        if load.batch_seconds is None:
            raise UsageError(f"{load.source} was not measured ({load.reason}); combine another row")
        if batch_size not in (None, load.batch_size):
            raise UsageError(f"the row has batch size {load.batch_size}, not {batch_size}")
        workers = load.workers if workers is None else workers
        if workers != load.workers:
            raise UsageError(f"the row was measured with {load.workers} workers, not {workers}")
        batch_size, load = load.batch_size, load.batch_seconds.median
    if workers is None or workers < 0:
        raise UsageError(f"workers is {workers!r}; give the DataLoader's number of workers, 0 or more")
    if step_seconds < 0 or load < 0:
        raise UsageError(f"a step of {step_seconds} s and loading of {load} s: neither can be below zero")
    wait = max(0.0, load - step_seconds) if workers else load
    total = step_seconds + wait
    return Combined(
        step_seconds=step_seconds,
        data_wait_seconds=wait,
        total_seconds=total,
        samples_per_second=batch_size / total if batch_size and total else None,
        data_share=wait / total if total else 0.0,
        limited_by=DATA if load > step_seconds else STEP,
    )
