"""The largest batch size with room to spare, found from one prediction by a few more."""

from __future__ import annotations

from dataclasses import replace

from actprof.hardware import Catalogue
from actprof.prediction.predict import predict_cell
from actprof.prediction.verdict import HEADROOM_SHARE
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace

_MOST_TRIED = 12


def roomy_batch(result: Result, *, catalogue: Catalogue | None = None) -> Result | None:
    """Return the prediction of the largest batch size with which the run fits; None when not known.

    Memory grows by no more than in proportion to the batch, so that a few predictions come close from above:
    from the largest that surely runs, where that is known, whatever batch is asked about. What lies between
    the first that fits and the last that does not is halved.
    """
    step, most = result.cell.micro_batches, result.surely_fits_batch_size
    above = _predicted(result, most, catalogue) if most else result
    if above is None or above.verdict == Verdict.FITS:
        return above
    found: Result | None = None
    for _ in range(_MOST_TRIED):
        size = _proportional(above) if found is None else _between(found, above)
        size -= size % step
        if size < 1 or (found is not None and size <= found.cell.batch_size):
            return found
        tried = _predicted(above, size, catalogue)
        if tried is None:
            return found
        found, above = (tried, above) if tried.verdict == Verdict.FITS else (found, tried)
    return found


def _proportional(result: Result) -> int:
    """Return how many samples have room, if memory grows in proportion to them; fewer than `result` has."""
    _low, high = result.peak_reserved_band_bytes or (0, result.peak_reserved_bytes)
    room = result.available_bytes - HEADROOM_SHARE * result.gpu.capacity_bytes
    return min(int(result.cell.batch_size * room / max(high, 1)), result.cell.batch_size - 1)


def _between(found: Result, above: Result) -> int:
    return (found.cell.batch_size + above.cell.batch_size) // 2


def _predicted(result: Result, size: int, catalogue: Catalogue | None) -> Result | None:
    """Return the prediction of another batch size, if it needs no further trace."""
    cell = replace(result.cell, batch_size=size)
    return predict_cell(cell, catalogue=catalogue) if cached_trace(cell) is not None else None
