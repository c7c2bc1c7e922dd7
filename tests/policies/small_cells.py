"""What tests of small policies share: other settings of their cell, and what every trace has to be."""

from __future__ import annotations

from dataclasses import replace

from actprof.trace.affine import fit
from actprof.trace.record import record


def with_overrides(cell, **overrides):
    """Return the cell with more fields of its policy's config set."""
    return replace(cell, overrides={**cell.overrides, **overrides})


def check_every_batch_size(cell, trace):
    """Assert that sizes are affine, that the last step repeats, and that five samples are as foreseen."""
    assert trace.fixed_batch_size is None
    assert trace.carried is not None
    recorder = record(replace(cell, batch_size=5)).recorder
    assert fit([recorder], (5,))["events"].tolist() == trace.events.tolist()
    assert recorder.sizes == trace.tensors.requested_bytes(5).tolist()
