"""The best thing to do about a run that needs no further trace: the cheapest remedy, or a larger batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from actprof.advice.offer import Offer
from actprof.advice.remedies import batch_size_offer, offers
from actprof.advice.room import roomy_batch
from actprof.advice.suggest import Remedy
from actprof.hardware import Catalogue
from actprof.prediction.predict import predict_cell
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace

_MOST_TRIED = 3


def first_aid(result: Result, *, catalogue: Catalogue | None = None) -> Remedy | None:
    """Return the remedy of the least effort with which a predicted run fits, or else runs at all.

    For a run that fits it is a larger batch that does so too. None where nothing is known of the run, and
    where none of the few remedies that are tried helps.
    """
    if result.verdict == Verdict.FITS:
        return _larger_batch(result, catalogue)
    if result.verdict == Verdict.UNKNOWN or not result.available_bytes:
        return None
    roomy = roomy_batch(result, catalogue=catalogue)
    tried: list[Remedy] = []
    for offer in offers(result.cell, fitting=None if roomy is None else roomy.cell.batch_size):
        if len(tried) == _MOST_TRIED or (tried and tried[-1].after.verdict == Verdict.FITS):
            break
        if not _is_hopeless(offer, result) and cached_trace(offer.cell) is not None:
            known = roomy if roomy is not None and roomy.cell == offer.cell else None
            after = known or predict_cell(offer.cell, catalogue=catalogue)
            tried.append(remedy_of(offer, result, after))
    return cheapest(tried)


def first_of(result: Result, remedies: Iterable[Remedy]) -> Remedy | None:
    """Return the best thing to do: a larger batch for what fits, the cheapest of `remedies` for others."""
    return first_aid(result) if result.verdict == Verdict.FITS else cheapest(remedies)


def cheapest(remedies: Iterable[Remedy]) -> Remedy | None:
    """Return the remedy of the least effort of those with which a run fits, or else runs, or None."""
    runs = (remedy for remedy in remedies if remedy.after.runs)
    return min(runs, key=lambda remedy: (remedy.after.verdict != Verdict.FITS, remedy.effort), default=None)


def _larger_batch(result: Result, catalogue: Catalogue | None) -> Remedy | None:
    """Return about the largest batch with room to spare; None where that is no larger than the run's own."""
    size = result.surely_fits_batch_size
    if size is None or size <= result.cell.batch_size:
        return None
    found = roomy_batch(result, catalogue=catalogue)
    if found is None or found.cell.batch_size <= result.cell.batch_size:
        return None
    return remedy_of(batch_size_offer("larger_batch", found.cell), result, found)


def remedy_of(offer: Offer, before: Result, after: Result) -> Remedy:
    """Return the offer as a remedy of what is predicted without and with it."""
    return Remedy(**{f.name: getattr(offer, f.name) for f in fields(Offer)}, before=before, after=after)


def _is_hopeless(offer: Offer, result: Result) -> bool:
    """Tell whether the allocator cannot help: what is allocated alone is more than the device has."""
    return offer.family == "allocator" and result.peak_allocated_bytes > result.available_bytes
