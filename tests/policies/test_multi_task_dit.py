"""Lerobot's Multitask DiT: CLIP's two towers, and a transformer that denoises actions."""

from dataclasses import replace

import pytest
from small_cells import check_every_batch_size, with_overrides

from actprof.cell import Cell
from actprof.measuring.grounding import check_grounding, ground
from actprof.policies import multi_task_dit
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record_trace

SMALL = {
    "vision_encoder_name": "tiny/clip",
    "text_encoder_name": "tiny/clip",
    "image_crop_shape": [32, 32],
    "horizon": 8,
    "n_action_steps": 4,
    "hidden_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "timestep_embed_dim": 8,
    "tokenizer_max_length": 6,
}
_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
TINY_CLIP = {
    "model_type": "clip",
    "text_config": {
        **_TOWER,
        "model_type": "clip_text_model",
        "vocab_size": 50,
        "max_position_embeddings": 6,
    },
    "vision_config": {**_TOWER, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 16},
}


@pytest.fixture(scope="module", autouse=True)
def _tiny_clip():
    """Another CLIP beside the one that the policy's file has."""
    with pytest.MonkeyPatch.context() as patch:
        models = {**multi_task_dit.SPEC.models, "tiny/clip": TINY_CLIP}
        patch.setattr(multi_task_dit, "SPEC", replace(multi_task_dit.SPEC, models=models))
        yield


@pytest.fixture(scope="module")
def cell():
    """A cell whose policy is small enough to run anywhere in seconds."""
    return Cell(policy="multi_task_dit", overrides=SMALL, resolution="64x64", batch_size=2, gpu=None)


@pytest.fixture(scope="module")
def trace(cell):
    """Return the trace of the small policy."""
    return record_trace(cell)


def test_one_trace_serves_every_batch_size(cell, trace):
    """Sizes are affine, and the last step repeats."""
    check_every_batch_size(cell, trace)


def test_the_trace_is_what_a_run_on_the_cpu_does(cell, trace):
    """The same parameters and output; it reads no sequence of observations."""
    check_grounding(ground(cell), trace.policy)
    assert (0, (8, 6)) == (trace.policy.encoder_tokens, trace.policy.output_shape)


def test_the_text_tower_is_frozen(trace):
    """Its projection learns, as all else does."""
    frozen = {p.path for p in trace.policy.parameters if not (p.trainable or p.is_buffer)}
    assert frozen
    assert all(path.startswith("observation_encoder.text_encoder.text_encoder.") for path in frozen)
    assert {"vision tower", "language model", "diffusion transformer"} <= {
        parameter.component for parameter in trace.policy.parameters
    }


def test_the_default_policy_has_the_parameters_of_clip():
    """ViT-B/16 and its text tower from the configuration that is written down."""
    from torch import device

    from actprof.policies.workload import build_workload

    with fake_cuda():
        policy = build_workload(Cell(policy="multi_task_dit"), device("cuda")).policy
    assert 248_855_302 == sum(p.numel() for p in policy.parameters())
    assert 185_689_350 == sum(p.numel() for p in policy.parameters() if p.requires_grad)


def test_tasks_are_padded_to_one_length(trace):
    """So that nothing is assumed of them."""
    assert not [text for text in trace.assumptions if "tasks" in text]


@pytest.mark.parametrize(
    "overrides",
    [
        {"objective": "flow_matching"},
        {"objective": "flow_matching", "timestep_sampling_strategy": "uniform"},
        {"noise_scheduler_type": "DDIM", "prediction_type": "sample"},
        {"use_rope": False, "use_positional_encoding": True},
        {"use_separate_rgb_encoder_per_camera": True, "image_resize_shape": [40, 40]},
        {"do_mask_loss_for_padding": True, "n_obs_steps": 1},
    ],
    ids="-".join,
)
def test_its_variants_trace_as_well(cell, overrides):
    """One trace for all batch sizes."""
    assert record_trace(with_overrides(cell, **overrides)).fixed_batch_size is None
