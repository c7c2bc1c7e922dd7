"""The answer in three lines: what becomes of a run, the best thing to do about it, how long it takes.

Plain text. Whoever prints them gives the verdict its colour.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from actprof.advice.offer import Offer
from actprof.advice.remedies import first_remedies, offers
from actprof.advice.suggest import Remedy
from actprof.policies import policy_title
from actprof.results import MOST_BATCH_SIZE, Result, Verdict
from actprof.trace.cache import STOPS
from actprof.units import format_bytes, format_seconds
from actprof.words import LIMITS, asked_text, gpus_text, plural

HEADLINES = {
    Verdict.FITS: "It fits.",
    Verdict.TIGHT: "It runs, but tightly.",
    Verdict.OOM: "It runs out of memory.",
    Verdict.UNKNOWN: "It cannot be told.",
    Verdict.FAILED: "It failed.",
}
SAMPLES = 10_000  # that the time is told of where nobody says how many steps there are
_HOUR = 3600.0
_LONGEST = 60  # characters of flags that still find room in a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """How long `what` takes, with the band of the prediction; `limit` is what most of it waits for."""

    what: str
    hours: float
    low: float
    high: float
    limit: str

    @property
    def text(self) -> str:
        """`12.2 h (7.03 to 21.2 h)`."""
        middle, low, high = map(hours_text, (self.hours, self.low, self.high))
        first = low.split()[0] if low.split()[-1] == high.split()[-1] else low
        return f"{middle} ({first} to {high})"


def subject(result: Result, place: str = "") -> str:
    """Return what was asked: `ACT with 2 cameras at 640x480, batch 8, on RTX 3090`."""
    cell = result.cell
    return (
        f"{policy_title(cell.policy)} with {asked_text(cell)}, on {gpus_text(cell, place or result.gpu.name)}"
    )


def advice_line(
    result: Result, remedy: Remedy | None = None, *, where: str = "actprof suggest says how"
) -> str:
    """Return the best thing to do: how much larger the batch may be, or else what helps, as flags to copy.

    What is too long for a line stands elsewhere: `where` says so.
    """
    if result.verdict == Verdict.FITS:
        return f"{format_bytes(result.headroom_bytes)} to spare: {_room(result, remedy)}."
    if result.verdict == Verdict.UNKNOWN:
        return _measured(result)
    if not result.available_bytes and (others := result.cell.used_by_others_bytes):
        return f"What helps: to free the card, of which other programs hold {format_bytes(others)}."
    if remedy is None:
        return _untried(result)
    added = " ".join(added_words(remedy))
    how = added if added and len(added) <= _LONGEST else f"{remedy.title} ({where})"
    return f"What helps: {how} {_effect(remedy)}."


def _measured(result: Result) -> str:
    """Return what tells more of a run of which nothing can be predicted."""
    if result.cell.compiled:
        return "What helps: to leave out compile_model, or to measure it where the GPU is, by actprof run."
    if result.reason.startswith(STOPS):
        return "What helps: another config, as lerobot itself stops with this one."
    return "What helps: to measure it where the GPU is, by actprof measure or actprof run."


def _untried(result: Result) -> str:
    """Return what would be tried first, of a policy whose remedies have to be traced."""
    names = first_remedies(result.cell)
    flags = [offer.flags[0] for offer in offers(result.cell) if offer.name in names and len(offer.flags) == 1]
    tried = [flag for flag in flags if not flag.startswith("--batch_size")]
    if not tried:
        return "What helps: actprof suggest, with the same options, looks for it."
    return f"May help: {tried[0]}; actprof suggest tries it."


def _effect(remedy: Remedy) -> str:
    after = remedy.after
    if after.verdict != Verdict.FITS:
        return "runs, tightly"
    if remedy.family == "batch":
        return f"fits{_up_to(remedy.before, after.cell.batch_size)}"
    return f"fits, with {format_bytes(after.headroom_bytes)} to spare"


def _room(result: Result, remedy: Remedy | None) -> str:
    """Return how far the batch may grow, as a flag of lerobot-train; `remedy` is a larger batch that fits."""
    if result.surely_fits_batch_size is None:
        return "the largest batch size is not known"
    if remedy is None:
        return f"no larger batch has room to spare{_up_to(result, result.cell.batch_size)}"
    size = remedy.after.cell.batch_size
    more = " or more" if size >= MOST_BATCH_SIZE else ""
    return f"{' '.join(remedy.flags)}{more} fits too{_up_to(result, size)}"


def _up_to(result: Result, size: int) -> str:
    """Return how many more than `size` samples run, if any."""
    most = result.surely_fits_batch_size or 0
    return (
        f"; up to {most}{' or more' if most >= MOST_BATCH_SIZE else ''} run, tightly" if most > size else ""
    )


def step_hours(result: Result, steps: int | None = None) -> Hours | None:
    """Return how long `steps` take, or so many samples; None where the speed is not known."""
    seconds = result.step_seconds
    if seconds is None:
        return None
    count = steps if steps is not None else SAMPLES / result.cell.global_samples
    low, middle, high = (count * it / _HOUR for it in (seconds.low, seconds.median, seconds.high))
    what = f"{SAMPLES:,} samples" if steps is None else steps_text(steps)
    return Hours(what=what, hours=middle, low=low, high=high, limit=result.limited_by)


def steps_text(steps: int) -> str:
    """Return `50,000 steps`."""
    return f"{steps:,} {plural(steps, 'step')}"


def time_line(result: Result, hours: Hours | None, *, cost: str = "") -> str:
    """Return how long it takes and what limits it; of a run that runs out, what it would take."""
    if hours is None:
        why = "" if result.verdict == Verdict.UNKNOWN else f": the speed of {result.gpu.name} is not"
        return f"How long it takes is not known{why}."
    alone = hours.what.startswith("1 ")
    verb = "would take" if result.verdict == Verdict.OOM else "takes" if alone else "take"
    limited = f", limited by {LIMITS[hours.limit]}" if hours.limit else ""
    return f"{hours.what} {verb} {hours.text}{limited}{cost}."


def why_text(result: Result) -> str:
    """Return what is behind the verdict, in sentences; nothing of a run that simply fits."""
    if not result.reason or result.verdict == Verdict.FITS:
        return ""
    return " ".join(filter(None, (f"Why: {result.reason.rstrip('.')}.", beyond_text(result))))


def beyond_text(result: Result) -> str:
    """Return how a run gets through whose peaks without limit are more than the card has; else nothing."""
    need, has = result.peak_process_bytes, result.gpu.capacity_bytes
    if result.verdict != Verdict.TIGHT or need <= has or result.source != "predicted":
        return ""
    return (
        f"Without limit it would take {format_bytes(need)} ({need / has:.0%} of the card); at the limit the "
        "allocator gives back what it has cached, and goes on."
    )


def band_text(result: Result) -> str:
    """Return in a sentence how far repeated runs differ in reserved memory; nothing where they do not."""
    low, high = result.peak_reserved_band_bytes or (0, 0)
    if low == high:
        return ""
    return f"repeated runs reserve {format_bytes(low)} to {format_bytes(high)}: cuDNN times its plans anew"


def added_words(offer: Offer) -> list[str]:
    """Return the variables and flags that a remedy adds to the command, as a shell takes them."""
    variables = (f"{name}={shlex.quote(value)}" for name, value in offer.environment.items())
    return [*variables, *map(shlex.quote, offer.flags)]


def hours_text(hours: float) -> str:
    """Return `12.2 h`, `2.5 min` below one hour, `43 s` below one minute."""
    for unit, size in (("h", 1.0), ("min", 1 / 60)):
        if hours >= size:
            return f"{figure(hours / size)} {unit}"
    return format_seconds(hours * _HOUR)


def figure(number: float) -> str:
    """Return three digits, and never a power of ten: `1.07`, `106,667`."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
