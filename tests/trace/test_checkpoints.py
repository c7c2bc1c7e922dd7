"""Parts of ACT that run twice, under mixed precision."""

from dataclasses import replace

import pytest

from actprof.trace.model import PHASES
from actprof.trace.record import record_trace


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_what_runs_twice_runs_both_times_in_half_precision(small_cell, precision, dtype):
    """Convolutions of the backbone, products of the encoder; one trace holds for all batch sizes."""
    changes = ("checkpoint_backbone", "checkpoint_encoder")
    trace = record_trace(replace(small_cell, cameras=1, precision=precision, changes=changes))
    assert trace.fixed_batch_size is None
    assert trace.carried is not None

    rows = [row for row, phase in enumerate(trace.ops.phase.tolist()) if PHASES[phase] == "backward"]
    dtypes = trace.details().dtypes
    for op in ("aten.convolution.default", "aten.addmm.default"):
        again = {row for row in rows if trace.ops.names[row] == op}
        made = {dtypes[tensor] for tensor, row in enumerate(trace.tensors.op.tolist()) if row in again}
        assert {dtype} == made - {""}, op
