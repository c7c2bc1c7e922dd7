"""How far a real step may be from a predicted one: the band, from the step times that the ledger knows.

A residual is the logarithm of measured over predicted seconds. The band holds nine of ten further steps if
residuals scatter about zero as those that are known do:

    band = exp(± t * sqrt(mean of residual²))    t: Student's, 90 %, two-sided, for so many residuals

For a GPU with three step times of its own the residuals are those. For any other one it is not known how the
GPU behaves, so that each GPU of the ledger is one residual, the mean of its own; that band is wider. Step
times that actprof measured itself take the place of those that others published of the same GPU.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """A step time of the ledger: on which GPU, measured over predicted seconds, and by whom."""

    gpu: str
    ratio: float
    origin: str


@dataclass(frozen=True, slots=True)
class Band:
    """Lowest and highest share of the predicted seconds that a real step may take, and what that rests on."""

    low: float
    high: float
    source: str


# Of the step times in reports/accuracy/rows.jsonl that others published; a test holds these figures to them.
# The B200 was one of eight that wait for each other, which widens the band. The ledger's own step times, of
# one H100 that took 1.6 to 2 times what is predicted, are not among them yet.
EVIDENCE = tuple(
    StepEvidence(gpu, ratio, "published")
    for gpu, ratios in {"B200": (1.47,), "RTX 3090": (1.06,), "RTX 5060 Ti 16 GB": (0.89, 0.91, 0.90)}.items()
    for ratio in ratios
)
_ENOUGH = 3  # step times of a GPU, or GPUs
_STUDENT = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)  # by residuals, from one on
_NOTHING_KNOWN = (0.4, 2.5)  # an estimate, where fewer than three GPUs are known


def step_band(gpu: str, *, evidence: Sequence[StepEvidence] = EVIDENCE) -> Band:
    """Return the band of a GPU of the catalogue, by its name."""
    residuals = _by_gpu(evidence)
    count = len(residuals.get(gpu, ()))
    if count >= _ENOUGH:
        return _band(residuals[gpu], f"the band is that of the {count} step times known of the {gpu}")
    steps, verb = ("step time", "is") if count == 1 else ("step times", "are")
    known = f"{count or 'no'} {steps} of the {gpu} {verb} known"
    if len(residuals) < _ENOUGH:
        return Band(*_NOTHING_KNOWN, f"{known}, and too few of others: the band is a wide guess")
    means = [sum(values) / len(values) for values in residuals.values()]
    return _band(means, f"{known}, so that the band is as wide as the {len(means)} GPUs of the ledger differ")


def _by_gpu(evidence: Sequence[StepEvidence]) -> dict[str, list[float]]:
    measured = {item.gpu for item in evidence if item.origin == "measured"}
    residuals: defaultdict[str, list[float]] = defaultdict(list)
    for item in evidence:
        if item.origin == "measured" or item.gpu not in measured:
            residuals[item.gpu].append(math.log(item.ratio))
    return residuals


def _band(residuals: Sequence[float], source: str) -> Band:
    scatter = math.sqrt(sum(residual**2 for residual in residuals) / len(residuals))
    width = _STUDENT[min(len(residuals), len(_STUDENT)) - 1] * scatter
    return Band(math.exp(-width), math.exp(width), source)
