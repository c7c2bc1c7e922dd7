"""Whether one run's seconds are worse than another's beyond their noise.

The samples are lines of a log, each the mean of the steps since the one before it, the first left out. With
at least five lines each the test of Mann and Whitney (one-sided, its normal approximation with ties and
continuity corrected) must find less than one chance in a hundred for ranks like these if there were no
difference; lines that follow each other are not quite independent, which is why a difference must exceed the
tolerance as well. With fewer lines, or where only a range is known, the two ranges must not overlap.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 5  # samples of each, from which on the test is taken
CHANCE = 0.01
_DECILES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One quantity of one run.

    Attributes:
        median: the figure itself, where there is only one.
        low, high: the tenth and the ninetieth percentile of the samples, or the band that is known.
        values: the samples; none where only the range is known.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Samples:
        """Return the samples of at least one value; of few, the range is from the least to the largest."""
        low, high = min(values), max(values)
        if len(values) >= ENOUGH:
            low, *_, high = statistics.quantiles(values, n=_DECILES, method="inclusive")
        return cls(median=statistics.median(values), low=low, high=high, values=tuple(values))

    @classmethod
    def exactly(cls, value: float, resolution: float = 0.0) -> Samples:
        """Return a figure that is true to `resolution`."""
        return cls(median=value, low=value - resolution, high=value + resolution)


def exceeds_noise(first: Samples, second: Samples) -> bool:
    """Tell whether the two differ by more than their noise, in whichever direction."""
    if min(len(first.values), len(second.values)) < ENOUGH:
        return first.high < second.low or second.high < first.low
    larger, smaller = (second, first) if second.median > first.median else (first, second)
    return chance_of_none(smaller.values, larger.values) < CHANCE


def chance_of_none(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the chance of ranks like these, or more extreme, if `second` were not larger than `first`.

    U = sum of the ranks of `second` - m (m + 1) / 2, with mean n m / 2 and variance
    n m / 12 (N + 1 - sum(t³ - t) / (N (N - 1))), where t are the sizes of ties and N = n + m.
    """
    n, m = len(first), len(second)
    counts = Counter((*first, *second))
    ranks, below = {}, 0
    for value in sorted(counts):
        ranks[value] = below + (counts[value] + 1) / 2
        below += counts[value]
    u = sum(ranks[value] for value in second) - m * (m + 1) / 2
    ties = sum(count**3 - count for count in counts.values()) / ((n + m) * (n + m - 1))
    deviation = math.sqrt(n * m / 12 * (n + m + 1 - ties))
    if not deviation:
        return 1.0  # all are equal
    return math.erfc((u - n * m / 2 - 0.5) / deviation / math.sqrt(2)) / 2
