"""EVO1: InternVL3 under autocast of its own, and an action head by flow matching."""

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.policies import evo1
from actprof.policies.precision import autocast_of
from actprof.trace.record import record, record_trace

CELL = Cell(
    policy="evo1",
    cameras=1,
    resolution="64x48",
    batch_size=2,
    task_tokens=3,
    overrides={
        "vlm_num_layers": 1,
        "embed_dim": 64,
        "hidden_dim": 32,
        "state_hidden_dim": 32,
        "num_layers": 2,
    },
)
_TEXT = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}


@pytest.fixture
def small(monkeypatch):
    """Make its backbone a small one."""
    (name, model), *_ = evo1.SPEC.models.items()
    text = {**model["text_config"], **_TEXT, "num_key_value_heads": 1}
    models = {name: {**model, "text_config": text, "vision_config": {**model["vision_config"], **_VISION}}}
    monkeypatch.setattr(evo1, "SPEC", replace(evo1.SPEC, models=models))


def learns(cell):
    """Return the components that have parameters that learn."""
    return {row.component for row in record(cell).policy.parameters if row.trainable and not row.is_buffer}


def test_one_trace_serves_every_batch_size(small):
    """A view that the dataset lacks is an empty image, and nothing loops over samples."""
    trace = record_trace(CELL)
    assert trace.fixed_batch_size is None
    assert trace.carried is not None


def test_its_stage_says_what_learns(small):
    """The action head first, then everything."""
    assert {"action head"} == learns(CELL)
    second = replace(CELL, overrides={**CELL.overrides, "training_stage": "stage2"})
    assert {"action head", "language model", "vision tower"} == learns(second)


def test_lerobot_takes_its_use_amp_for_fp16():
    """It is on by default, and asks accelerate for autocast's default; the policy's own is bf16."""
    assert "fp16" == autocast_of(CELL)
    assert "fp32" == autocast_of(replace(CELL, overrides={"use_amp": False}))


@pytest.mark.slow
def test_the_real_size_is_traced_for_every_batch_size():
    """The mask of image tokens over the embeddings of seven samples is followed, large as it is."""
    trace = record_trace(Cell(policy="evo1"))

    assert (None, 775_124_912) == (trace.fixed_batch_size, trace.policy.parameter_count)
