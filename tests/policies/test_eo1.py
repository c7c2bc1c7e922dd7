"""EO-1: Qwen2.5-VL with a state and a chunk of actions among its tokens."""

from dataclasses import replace

import pytest
from small_qwen import small_qwen2_5

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies import eo1
from actprof.policies.precision import autocast_of
from actprof.trace.record import record

FEW_PIXELS = {"image_min_pixels": 3136, "image_max_pixels": 6272}
CELL = Cell(policy="eo1", cameras=1, resolution="64x48", batch_size=2, task_tokens=3, overrides=FEW_PIXELS)


@pytest.fixture
def small(monkeypatch):
    """Make its backbone a small one."""
    models = {"Qwen/Qwen2.5-VL-3B-Instruct": small_qwen2_5()}
    monkeypatch.setattr(eo1, "SPEC", replace(eo1.SPEC, models=models))


def bytes_of_one(recording, component):
    """Return how wide the parameters of a component are."""
    rows = [row for row in recording.policy.parameters if row.component == component and not row.is_buffer]
    return {row.bytes // row.count for row in rows}


def test_all_of_it_learns_in_bf16_but_its_projections(small):
    """As `dtype=auto` takes it from the backbone, and lerobot keeps what it adds in fp32."""
    recording = record(CELL)
    assert all(row.trainable for row in recording.policy.parameters if not row.is_buffer)
    assert {2} == bytes_of_one(recording, "language model") == bytes_of_one(recording, "vision tower")
    assert {4} == bytes_of_one(recording, "action and state projections")
    assert [] == [note for note in recording.recorder.notes if "depends on the data" in note]


def test_checkpoints_run_forward_passes_again(small):
    """The flag of the policy is that of its backbone."""
    flops = [
        sum(record(replace(CELL, overrides={**FEW_PIXELS, **fields})).recorder.op_flops)
        for fields in ({"dtype": "float32"}, {"dtype": "float32", "gradient_checkpointing": True})
    ]
    assert flops[0] < flops[1]


def test_a_launcher_decides_autocast_where_the_dtype_is_auto():
    """Another dtype decides it itself, and a launcher that says otherwise is told so."""
    assert "bf16" == autocast_of(replace(CELL, precision="bf16"))
    assert "fp32" == autocast_of(CELL)
    assert "bf16" == autocast_of(replace(CELL, overrides={"dtype": "bfloat16"}))
    with pytest.raises(UsageError, match="dtype=float16"):
        autocast_of(replace(CELL, precision="fp16", overrides={"dtype": "bfloat16"}))
