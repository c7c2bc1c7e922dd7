"""How long a whole run takes, how often it sees the dataset, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.hardware.jobs import PRICE_SOURCE, job_dollars
from actprof.loading.feed import DATA, Combined, combine
from actprof.preflight_check.training_run import TrainingRun
from actprof.results import Result
from actprof.training_command.command_line import Given

_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What the whole machine costs, and where the figure comes from."""

    usd_per_hour: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """All steps of a run.

    Attributes:
        hours, hours_low, hours_high: by the predicted step and its band.
        samples_per_second: on all GPUs together.
        data_wait_seconds: per step; None where no loading was given.
        data_share: of the run's time that is waiting for data, 0 to 1; None where no loading was given.
        limited_by: `data`, or what the step waits for.
        epochs: how often the dataset is gone through; None where its frames are not known.
        cost_usd, price: None where nobody knows the price.
    """

    hours: float
    hours_low: float
    hours_high: float
    samples_per_second: float
    data_wait_seconds: float | None = None
    data_share: float | None = None
    limited_by: str = ""
    epochs: float | None = None
    cost_usd: float | None = None
    price: Price | None = None


def run_duration(run: TrainingRun, result: Result, given: Given, *, frames: int = 0) -> Duration | None:
    """Return what all steps of `run` take; None where the step is not known.

    `frames` are those of the dataset, 0 when not known.
    """
    seconds = result.step_seconds
    if seconds is None or run.steps <= 0:
        return None
    is_loaded = given.load_seconds is not None
    load, workers = (given.load_seconds or 0.0, run.num_workers) if is_loaded else (0.0, 0)
    loops = [combine(step, load, workers) for step in (seconds.low, seconds.median, seconds.high)]
    low, median, high = (run.steps * loop.total_seconds / _HOUR for loop in loops)
    loop, samples, price = loops[1], run.batch_size * result.cell.world_size, _price(run, given)
    return Duration(
        hours=median,
        hours_low=low,
        hours_high=high,
        samples_per_second=samples / loop.total_seconds,
        data_wait_seconds=loop.data_wait_seconds if is_loaded else None,
        data_share=loop.data_share if is_loaded else None,
        limited_by=_limit(loop, result),
        epochs=run.steps * samples / frames if frames else None,
        cost_usd=None if price is None else price.usd_per_hour * median,
        price=price,
    )


def _price(run: TrainingRun, given: Given) -> Price | None:
    """Return what the machine of `run` costs: as given, else the price of its job's flavour."""
    if given.price_per_hour is not None:
        return Price(usd_per_hour=given.price_per_hour, source="as given")
    dollars = None if run.job_target is None else job_dollars(run.job_target)
    return None if dollars is None else Price(usd_per_hour=dollars, source=PRICE_SOURCE)


def _limit(loop: Combined, result: Result) -> str:
    """Return what the loop waits for most: data where it holds up the step, or has the largest share.

    A host that limits the step is at work throughout.
    """
    shares = {} if result.work is None else result.work.shares
    is_host = not shares or result.limited_by == "launches"
    is_largest = loop.data_share > (1 - loop.data_share) * (1.0 if is_host else max(shares.values()))
    return DATA if is_largest or loop.limited_by == DATA else result.limited_by
