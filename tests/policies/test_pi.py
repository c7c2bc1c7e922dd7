"""Lerobot's pi0, pi0.5 and pi0-FAST, traced without a GPU and without the Hub."""

from dataclasses import replace

import pytest
import torch
from small_pi import small_cell, small_models

from actprof.policies import policy_spec
from actprof.policies.probe import parameter_table
from actprof.policies.workload import build_workload
from actprof.trace.affine import fit
from actprof.trace.fake import fake_cuda
from actprof.trace.model import KINDS
from actprof.trace.record import record, record_trace
from actprof.trace.sample_loops import NOTE, without_sample_loops

PI = ("pi0", "pi05", "pi0_fast")
EXPERT_ONLY = {"train_expert_only": True}
CHECKPOINTS = {"dtype": "bfloat16", "gradient_checkpointing": True}
ACTIVATIONS, GRADIENTS, STATE = (
    KINDS.index(kind) for kind in ("activations", "gradients", "optimizer state")
)


@pytest.fixture(scope="module", params=PI)
def traced(request):
    """The name of a policy, and the trace of its small one in bf16 with checkpoints."""
    with small_models(request.param):
        return request.param, record_trace(small_cell(request.param, **CHECKPOINTS))


def parameters_of(policy, *, peft=None, **overrides):
    """Return how many parameters lerobot's full-size policy has, and how many of them learn."""
    cell = replace(small_cell(policy, **overrides), peft=peft or {})
    with fake_cuda():
        table = parameter_table(build_workload(cell, torch.device("cuda")).policy, policy_spec(policy))
    counts = [(row.count, row.trainable) for row in table if not row.is_buffer]
    return sum(count for count, _learns in counts), sum(count for count, learns in counts if learns)


def test_one_trace_serves_every_batch_size(traced):
    """Sizes are affine, and the last step repeats."""
    policy, trace = traced
    assert trace.fixed_batch_size is None
    assert trace.carried is not None
    with small_models(policy):
        recorder = record(small_cell(policy, batch_size=5, **CHECKPOINTS)).recorder
    if policy == "pi0_fast":
        recorder = without_sample_loops(recorder)
    assert fit([recorder], (5,))["events"].tolist() == trace.events.tolist()
    assert recorder.sizes == trace.tensors.requested_bytes(5).tolist()


def test_only_the_policy_that_loops_over_samples_is_fitted_in_parts(traced):
    """Pi0-FAST makes tokens of one chunk of actions at a time; and nothing else had to be assumed."""
    policy, trace = traced
    assert ((NOTE,) if policy == "pi0_fast" else ()) == trace.assumptions


def test_tokens_are_those_of_images_and_text(traced):
    """16 of the small vision tower; then 48 or 200 of text, and pi0-FAST's 256 of actions."""
    policy, trace = traced
    assert {"pi0": 64, "pi05": 216, "pi0_fast": 472}[policy] == trace.policy.encoder_tokens


def test_chunks_of_actions_are_padded(traced):
    """Pi0 and pi0.5 predict 32 figures for each of 50 steps, whatever the robot; pi0-FAST predicts words."""
    policy, trace = traced
    assert (() if policy == "pi0_fast" else (50, 32)) == trace.policy.output_shape


@pytest.mark.parametrize(
    ("policy", "overrides", "parameters"),
    [
        ("pi0", {}, (4_028_019_472, 4_028_019_472)),
        ("pi05", EXPERT_ONLY, (4_143_404_816, 693_422_112)),
    ],
)
def test_full_size_has_the_parameters_of_lerobots(policy, overrides, parameters):
    """As others counted them on GPUs, the trained ones too."""
    assert parameters == parameters_of(policy, **overrides)


def test_an_adapter_of_rank_16_is_as_large_as_lerobots():
    """As counted in a run of pi0.5 on a GPU: queries and values of the expert, and the projections."""
    _all, learning = parameters_of("pi05", peft={"r": 16})
    assert 1_287_168 == learning


def test_a_frozen_part_has_neither_gradients_nor_state():
    """With `train_expert_only` nothing of PaliGemma learns."""
    with small_models("pi05"):
        recorder = record(small_cell("pi05", **EXPERT_ONLY)).recorder
    grown = {
        owner for tensor, owner in recorder.owners.items() if recorder.kinds[tensor] in (GRADIENTS, STATE)
    }
    assert grown
    assert not [owner for owner in grown if ".paligemma." in owner]


def test_checkpoints_cover_vision_tower_and_layers():
    """In the reverse pass every layer runs once more, and less is kept until then."""

    def kept(**overrides):
        with small_models("pi0"):
            recorder = record(small_cell("pi0", **overrides)).recorder
        return sum(
            size for size, kind in zip(recorder.sizes, recorder.kinds, strict=True) if kind == ACTIVATIONS
        )

    assert kept(gradient_checkpointing=True) < kept()
