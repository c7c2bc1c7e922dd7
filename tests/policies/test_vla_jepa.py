"""VLA-JEPA: Qwen3-VL, a frozen encoder of video that a world model predicts, and an action head."""

from dataclasses import replace

import pytest
from small_qwen import small_qwen3

from actprof.cell import Cell
from actprof.policies import vla_jepa
from actprof.trace.record import record

CELL = Cell(
    policy="vla_jepa",
    cameras=1,
    resolution="64x48",
    batch_size=2,
    task_tokens=3,
    overrides={
        "action_hidden_size": 32,
        "action_num_layers": 2,
        "action_num_heads": 2,
        "action_attention_head_dim": 16,
        "num_video_frames": 4,
        "predictor_depth": 1,
        "predictor_num_heads": 2,
    },
)
_VIDEO = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 1}


@pytest.fixture
def small(monkeypatch):
    """Make its backbone and its encoder small ones."""
    models = dict(vla_jepa.SPEC.models)
    models["Qwen/Qwen3-VL-2B-Instruct"] = small_qwen3()
    models["facebook/vjepa2-vitl-fpc64-256"] |= {
        **_VIDEO,
        "pred_hidden_size": 48,
        "pred_num_hidden_layers": 1,
    }
    monkeypatch.setattr(vla_jepa, "SPEC", replace(vla_jepa.SPEC, models=models))


def test_its_five_parts_are_told_apart(small):
    """All have parameters; where its tokens stand in the text was known, not assumed."""
    recording = record(CELL)
    components = {row.component for row in recording.policy.parameters if not row.is_buffer}
    assert {name for _prefix, name in vla_jepa.SPEC.components} == components
    assert [] == [note for note in recording.recorder.notes if "depends on the data" in note]


def test_a_frozen_backbone_has_no_world_model(small):
    """As lerobot leaves it out where no gradient would flow."""
    recording = record(replace(CELL, overrides={**CELL.overrides, "freeze_qwen": True}))
    learning = {row.component for row in recording.policy.parameters if row.trainable and not row.is_buffer}
    assert {"action head"} == learning
    assert "world model" not in {row.component for row in recording.policy.parameters}
