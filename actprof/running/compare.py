"""Two runs side by side, each measured or predicted: what changed, and whether the second is worse.

The noise of logged seconds is that of their lines, that of measured sizes half the band that is predicted of
repeated runs (cuDNN times its plans anew). Two predictions have none; one beside a measurement has its band.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actprof.cell import CELL_FIELDS
from actprof.errors import UsageError
from actprof.measurement import Spread
from actprof.records import to_plain
from actprof.results import MEASURED, Result, Verdict
from actprof.running.noise import Samples, exceeds_noise
from actprof.running.summary import RunSummary
from actprof.running.training_log import settled

_SMALLER_IS_BETTER = {
    "update seconds": True, "data wait seconds": True, "step seconds": True, "allocated bytes": True,
    "reserved bytes": True, "process bytes": True, "largest batch size": False,
}  # fmt: skip
_RANK = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.OOM: 2, Verdict.FAILED: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that the two do not have in common, as texts; empty where one has nothing."""

    name: str
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity of both.

    Attributes:
        percent: second against first; None where the first is zero.
        beyond_noise: whether they differ by more than their noise, and by more than the tolerance.
        worse: whether the second is worse beyond noise.
    """

    name: str
    first: Samples
    second: Samples
    percent: float | None
    beyond_noise: bool
    worse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """The answer: `worse` is whether any quantity is, or whether the second no longer runs."""

    kinds: tuple[str, str]
    changes: tuple[Change, ...]
    quantities: tuple[Quantity, ...]
    verdicts: tuple[str, str]
    tolerance: float

    @property
    def verdict_is_worse(self) -> bool:
        """Whether the second runs out, or only just fits, where the first did better."""
        first, second = (_RANK.get(Verdict(text)) if text else None for text in self.verdicts)
        if first is None or second is None:
            return False
        return second > max(first, 0 if self.kinds[0] == self.kinds[1] else _RANK[Verdict.TIGHT])

    @property
    def worse(self) -> bool:
        """Whether the second is worse beyond the noise."""
        return self.verdict_is_worse or any(quantity.worse for quantity in self.quantities)

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        return {"worse": self.worse, **to_plain(self)}


def compare_runs(
    first: RunSummary | Result, second: RunSummary | Result, *, tolerance: float = 0.05
) -> RunComparison:
    """Return how the second differs from the first.

    Args:
        first: the summary of a run, or a result, predicted or measured.
        second: another.
        tolerance: differences up to this share are never worse.

    Raises:
        UsageError: they have nothing in common that could be compared.
    """
    alike = _is_predicted(first) and _is_predicted(second)
    ours, theirs = (_quantities(run, has_band=not alike) for run in (first, second))
    quantities = tuple(
        _quantity(name, ours[name], theirs[name], tolerance, ours) for name in ours if name in theirs
    )
    verdicts = (_verdict(first), _verdict(second))
    if not quantities and not all(verdicts):
        raise UsageError(
            f"{_kind(first)} and {_kind(second)} have no figure in common: there are "
            f"{', '.join(ours) or 'none'}, and {', '.join(theirs) or 'none'}"
        )
    return RunComparison(
        kinds=(_kind(first), _kind(second)),
        changes=_changes(first, second),
        quantities=quantities,
        verdicts=verdicts,
        tolerance=tolerance,
    )


def _quantity(
    name: str, first: Samples, second: Samples, tolerance: float, firsts: Mapping[str, Samples]
) -> Quantity:
    difference = second.median - first.median
    # a wait that is next to nothing may well become twice that: it is measured by the whole step
    whole = firsts["step seconds"].median if name == "data wait seconds" else first.median
    beyond = abs(difference) > tolerance * abs(whole) and exceeds_noise(first, second)
    is_more = difference > 0
    return Quantity(
        name=name,
        first=first,
        second=second,
        percent=100 * difference / first.median if first.median else None,
        beyond_noise=beyond,
        worse=beyond and is_more == _SMALLER_IS_BETTER[name],
    )


# -- what there is to compare --------------------------------------------------------------------------------


def _is_predicted(run: RunSummary | Result) -> bool:
    return isinstance(run, Result) and run.source != MEASURED


def _quantities(run: RunSummary | Result, *, has_band: bool) -> dict[str, Samples]:
    """Return what is known of a run; of a prediction its figures alone, unless it `has_band`."""
    if isinstance(run, Result):
        seconds = run.step_seconds
        found = {} if seconds is None else {"update seconds": _of_spread(seconds, has_band=has_band)}
        return found | _sizes(run, run if has_band and run.source != MEASURED else None)
    lines = settled(run.lines)
    found = {}
    if lines:
        found["update seconds"] = Samples.of([line.update_seconds for line in lines])
        found["data wait seconds"] = Samples.of([line.data_seconds for line in lines])
        found["step seconds"] = Samples.of([line.step_seconds for line in lines])
    elif run.seconds_per_step is not None:
        found["step seconds"] = Samples.exactly(run.seconds_per_step)
    if run.measured is not None and not run.without_cuda:
        found |= _sizes(run.measured, run.predicted)
    return found


def _of_spread(seconds: Spread, *, has_band: bool) -> Samples:
    if not has_band:
        return Samples.exactly(seconds.median)
    return Samples(median=seconds.median, low=seconds.low, high=seconds.high)


def _sizes(result: Result, banded: Result | None) -> dict[str, Samples]:
    """Return the sizes of a result, with the noise that the bands of `banded` leave them."""
    if result.on_cpu or result.verdict in (Verdict.UNKNOWN, Verdict.FAILED):
        return {}
    if result.source == MEASURED and result.verdict == Verdict.OOM:  # it ended before its peaks
        return {}
    told = {} if result.measurement is None else result.measurement.resolution_bytes
    reserved = _half(None if banded is None else banded.peak_reserved_band_bytes)
    allocated = _half(None if banded is None else banded.peak_allocated_band_bytes)
    sizes = {
        "allocated bytes": (result.peak_allocated_bytes, allocated + told.get("allocated", 0)),
        "reserved bytes": (result.peak_reserved_bytes, reserved),
        "process bytes": (result.peak_process_bytes, reserved + told.get("process", 0)),
        "largest batch size": (result.max_batch_size or 0, 0),
    }
    return {name: Samples.exactly(size, near) for name, (size, near) in sizes.items() if size}


def _half(band: tuple[int, int] | None) -> float:
    return 0.0 if band is None else (band[1] - band[0]) / 2


def _verdict(run: RunSummary | Result) -> str:
    result = run.measured if isinstance(run, RunSummary) else run
    if result is None or result.on_cpu or result.verdict == Verdict.UNKNOWN:
        return ""
    return str(result.verdict)


def _kind(run: RunSummary | Result) -> str:
    return "a run" if isinstance(run, RunSummary) else f"a {run.source} result"


# -- what changed --------------------------------------------------------------------------------------------


def _changes(first: RunSummary | Result, second: RunSummary | Result) -> tuple[Change, ...]:
    ours, theirs = _facts(first), _facts(second)
    pairs = [(name, text, theirs[name]) for name, text in ours.items() if name in theirs]
    if isinstance(first, RunSummary) and isinstance(second, RunSummary):
        ours, theirs = _flags(first.command), _flags(second.command)
        names = dict.fromkeys((*ours, *theirs))
        pairs += [(name, ours.get(name, ""), theirs.get(name, "")) for name in names]
    return tuple(Change(name=name, first=a, second=b) for name, a, b in pairs if a != b)


def _facts(run: RunSummary | Result) -> dict[str, str]:
    """Return settings, versions and device of a run, as texts."""
    result = run if isinstance(run, Result) else run.measured or run.predicted
    facts: dict[str, str] = {}
    if result is not None:
        cell = result.cell
        facts |= {part.called: _text(getattr(cell, part.name)) for part in CELL_FIELDS if part.name != "gpu"}
        device = result.device
        facts["GPU" if device is None or device.type == "cuda" else "processor"] = (
            result.gpu.name if device is None else device.name
        )
        facts |= {"driver": device.driver} if device is not None and device.driver else {}
    return facts | dict(run.versions)


_NOT_SETTINGS = ("--output_dir", "--job_name", "--batch_size")  # the last is the cell's as well


def _flags(command: str) -> dict[str, str]:
    """Return the flags of a command and the variables before it, but for those that a cell says."""
    found = (word.partition("=") for word in shlex.split(command) if "=" in word)
    flags = {name: value for name, _, value in found if name.startswith("--") or name.isupper()}
    return {name: value for name, value in flags.items() if name not in _NOT_SETTINGS}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in sorted(value.items()))
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
