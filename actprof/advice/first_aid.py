"""The cheapest remedy for a run that does not simply fit, among those that need no further trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from actprof.advice.offer import Offer
from actprof.advice.remedies import offers
from actprof.advice.room import roomy_batch
from actprof.advice.suggest import Remedy
from actprof.hardware import Catalogue
from actprof.prediction.predict import predict_cell
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace

_MOST_TRIED = 3


def first_aid(result: Result, *, catalogue: Catalogue | None = None) -> Remedy | None:
    """Return the remedy of the least effort with which a predicted run fits, or else runs at all.

    None where the run fits, where nothing is known of it, and where none of the few that are tried helps.
    """
    if result.verdict not in (Verdict.TIGHT, Verdict.OOM) or not result.available_bytes:
        return None
    roomy = roomy_batch(result, catalogue=catalogue)
    tried: list[Remedy] = []
    for offer in offers(result.cell, fitting=None if roomy is None else roomy.cell.batch_size):
        if len(tried) == _MOST_TRIED or (tried and tried[-1].after.verdict == Verdict.FITS):
            break
        if not _is_hopeless(offer, result) and cached_trace(offer.cell) is not None:
            is_known = roomy is not None and roomy.cell == offer.cell
            after = roomy if is_known else predict_cell(offer.cell, catalogue=catalogue)
            said = {f.name: getattr(offer, f.name) for f in fields(Offer)}
            tried.append(Remedy(**said, before=result, after=after))
    return cheapest(tried)


def cheapest(remedies: Iterable[Remedy]) -> Remedy | None:
    """Return the remedy of the least effort of those with which a run fits, or else runs; None without one."""
    runs = (remedy for remedy in remedies if remedy.after.runs)
    return min(runs, key=lambda remedy: (remedy.after.verdict != Verdict.FITS, remedy.effort), default=None)


def _is_hopeless(offer: Offer, result: Result) -> bool:
    """Tell whether the allocator cannot help: what is allocated alone is more than the device has."""
    return offer.family == "allocator" and result.peak_allocated_bytes > result.available_bytes
