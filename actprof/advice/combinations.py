"""Which remedies together make a run fit: up to three of them, the least effort first.

What single remedies save bounds what they can save together, so that most combinations need no trace.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from actprof.advice.offer import Offer
from actprof.advice.remedies import combine
from actprof.advice.suggest import TRACING_SECONDS, Remedy, predict_all
from actprof.hardware import builtin_catalogue
from actprof.policies.changes import LOSSLESS
from actprof.processes.pool import Workers
from actprof.progress import Listener, nobody
from actprof.records import to_plain
from actprof.results import Result, Verdict

MOST_REMEDIES = 3
_MOST_TRIED = 4
_SLACK = 1.1  # together they may save a little more than one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """Remedies that are taken together, and what they do together."""

    offers: tuple[Offer, ...]
    before: Result
    after: Result

    @property
    def effort(self) -> float:
        """Sum over its remedies."""
        return sum(offer.effort for offer in self.offers)

    @property
    def is_lossless(self) -> bool:
        """Whether the mathematics stays the same."""
        return all(offer.kind == LOSSLESS for offer in self.offers)

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values, curves left out."""
        names = [f.name for f in fields(Offer) if f.name != "cell"]
        return {
            "remedies": [{name: to_plain(getattr(offer, name)) for name in names} for offer in self.offers],
            "effort": self.effort,
            "before": self.before.to_json(curve=False),
            "after": self.after.to_json(curve=False),
        }


def reach(
    singles: Sequence[Remedy],
    *,
    limit: int = 4,
    seconds: float = TRACING_SECONDS,
    listener: Listener = nobody,
) -> tuple[Combination, ...]:
    """Return what makes a run fit, the least effort first; empty when nothing that was tried does.

    One of each family of the single remedies is returned; combinations are tried only until the first one
    that fits with less effort, and until a lossless one does.

    Args:
        singles: remedies for that run, which keep its batch size, of `suggest`.
        limit: so many at most.
        seconds: try no further combination after so long.
        listener: told about the progress.
    """
    known, workers = builtin_catalogue(), Workers(listener=listener)
    found: list[Combination] = []
    for remedy in sorted(singles, key=lambda remedy: remedy.effort):
        families = {answer.offers[0].family for answer in found}
        if remedy.after.verdict == Verdict.FITS and remedy.family not in families:
            found.append(Combination(offers=(remedy,), before=remedy.before, after=remedy.after))
    end = time.monotonic() + seconds

    def try_out(candidates: Sequence[tuple[Remedy, ...]]) -> None:
        for chosen in candidates[:_MOST_TRIED]:
            if time.monotonic() > end:
                return
            before = chosen[0].before
            (after,) = predict_all([combine(before.cell, chosen)], known, workers)
            if after is not None and after.verdict == Verdict.FITS:
                found.append(Combination(offers=chosen, before=before, after=after))
                return

    least = min((combination.effort for combination in found), default=float("inf"))
    try_out([chosen for chosen in _candidates(singles) if _effort(chosen) < least])
    if not any(combination.is_lossless for combination in found):
        lossless = [remedy for remedy in singles if remedy.kind == LOSSLESS]
        try_out(_candidates(lossless))
    return tuple(sorted(found, key=lambda combination: combination.effort)[:limit])


def _candidates(singles: Sequence[Remedy]) -> list[tuple[Remedy, ...]]:
    """Return the combinations that may fit where none of their parts does, the least effort first."""
    useful = [r for r in singles if r.saved_bytes > 0 and r.after.verdict != Verdict.FITS]
    candidates = [
        chosen
        for count in range(2, MOST_REMEDIES + 1)
        for chosen in itertools.combinations(useful, count)
        if len({remedy.family for remedy in chosen}) == count and _may_fit(chosen)
    ]
    return sorted(candidates, key=_effort)


def _effort(chosen: Sequence[Offer]) -> float:
    return sum(offer.effort for offer in chosen)


def _may_fit(chosen: Sequence[Remedy]) -> bool:
    before = chosen[0].before
    missing = before.peak_reserved_bytes - before.available_bytes
    return sum(remedy.saved_bytes for remedy in chosen) * _SLACK >= missing
