"""How far a real step may be from a predicted one: the band, from step times that fitted no constant.

A residual is the logarithm of measured over predicted seconds; `residuals.toml` has them, of the ledger's
rows, apart for steps in which the host takes longer than the device and for all others. The band holds nine
of ten further steps if residuals scatter about zero as those that are known do:

    band = exp(± t * sqrt(mean of residual²))    t: Student's, 90 %, two-sided, for so many residuals

For a GPU with three step times of its own the residuals are those. For any other one it is not known how the
GPU behaves, so that each GPU of the ledger is one residual, the mean of its own, and how its own differ among
themselves comes on top; that band is wider. The prediction of no GPU here rests on its own rows.
"""

from __future__ import annotations

import math
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("residuals.toml")
_ENOUGH = 3  # step times of a GPU, or GPUs
_STUDENT = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)  # by residuals, from one on
_NOTHING_KNOWN = (0.4, 2.5)  # an estimate, where fewer than three GPUs are known


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """A step time of the ledger: on which GPU, measured over predicted seconds, and what took longer."""

    gpu: str
    ratio: float
    host_bound: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """Lowest and highest share of the predicted seconds that a real step may take, and what that rests on."""

    low: float
    high: float
    source: str


@cache
def known_steps() -> tuple[StepEvidence, ...]:
    """Return the step times that come with actprof and fitted nothing."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(
        StepEvidence(gpu, ratio, kind == "host")
        for kind, gpus in tables.items()
        for gpu, ratios in gpus.items()
        for ratio in ratios
    )


def step_band(gpu: str, *, host_bound: bool, evidence: Sequence[StepEvidence] | None = None) -> Band:
    """Return the band of a GPU of the catalogue, by its name, for steps of that kind."""
    known = known_steps() if evidence is None else evidence
    residuals = _by_gpu([item for item in known if item.host_bound == host_bound])
    kind = "the host limits" if host_bound else "the GPU limits"
    own = residuals.get(gpu, [])
    if len(own) >= _ENOUGH:
        source = f"the band is that of {len(own)} steps of the {gpu} that {kind}"
        return _band(math.sqrt(_mean_square(own)), len(own), source)
    if len(residuals) < _ENOUGH:
        return Band(*_NOTHING_KNOWN, f"too few steps that {kind} are known: the band is a wide guess")
    means = [sum(values) / len(values) for values in residuals.values()]
    scatter = math.sqrt(_mean_square(means) + _within(residuals))
    count = ("none is", "one is", "two are")[len(own)]
    source = (
        f"the band is as wide as {len(means)} GPUs differ in steps that {kind}, of which {count} of the {gpu}"
    )
    return _band(scatter, len(means), source)


def _by_gpu(evidence: Sequence[StepEvidence]) -> Mapping[str, list[float]]:
    residuals: defaultdict[str, list[float]] = defaultdict(list)
    for item in evidence:
        residuals[item.gpu].append(math.log(item.ratio))
    return residuals


def _within(residuals: Mapping[str, Sequence[float]]) -> float:
    """Return the variance of residuals about the mean of their GPU, of all GPUs together."""
    freedom = sum(len(values) - 1 for values in residuals.values())
    squares = sum(
        (value - sum(values) / len(values)) ** 2 for values in residuals.values() for value in values
    )
    return squares / freedom if freedom else 0.0


def _mean_square(residuals: Sequence[float]) -> float:
    return sum(residual**2 for residual in residuals) / len(residuals)


def _band(scatter: float, count: int, source: str) -> Band:
    width = _STUDENT[min(count, len(_STUDENT)) - 1] * scatter
    return Band(math.exp(-width), math.exp(width), source)
