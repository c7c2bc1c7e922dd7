"""The largest batch size with room to spare, found from one prediction by a few more."""

from __future__ import annotations

from dataclasses import replace

from actprof.hardware import Catalogue
from actprof.prediction.predict import predict_cell
from actprof.prediction.verdict import HEADROOM_SHARE
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace

_MOST_TRIED = 4


def roomy_batch(result: Result, *, catalogue: Catalogue | None = None) -> Result | None:
    """Return the prediction of about the largest batch size with which the run fits; None when not known.

    Memory grows by no more than in proportion to the batch, so that a few predictions come close from above.
    """
    found = result
    for _ in range(_MOST_TRIED):
        low, high = found.peak_reserved_band_bytes or (found.peak_reserved_bytes,) * 2
        room = found.available_bytes - HEADROOM_SHARE * found.gpu.capacity_bytes
        size = int(found.cell.batch_size * room / max(low, high, 1))
        size = min(size, found.surely_fits_batch_size or size, found.cell.batch_size - 1)
        size -= size % found.cell.micro_batches
        cell = replace(found.cell, batch_size=size) if size >= 1 else None
        if cell is None or cached_trace(cell) is None:
            return None
        found = predict_cell(cell, catalogue=catalogue)
        if found.verdict == Verdict.FITS:
            return found
    return None
