"""ACT as people vary it: every variant traces, and one trace serves all batch sizes."""

from dataclasses import replace

import pytest

from actprof.errors import UsageError
from actprof.measuring.grounding import check_grounding, ground
from actprof.replay.replay import ReplayConditions, replay
from actprof.trace.record import record, record_trace

VARIANTS = {
    "seven decoder layers, as in the original": {"n_decoder_layers": 7},
    "resnet34": {"vision_backbone": "resnet34"},
    "resnet50": {"vision_backbone": "resnet50"},
    "resnet50 dilated": {"vision_backbone": "resnet50", "replace_final_stride_with_dilation": True},
    "no VAE": {"use_vae": False},
    "temporal ensembling": {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1},
    "norm first": {"pre_norm": True},
}


@pytest.fixture(scope="module")
def plain(small_cell):
    """Return the trace of the small ACT as it is."""
    return record_trace(small_cell)


def vary(cell, overrides):
    return replace(cell, overrides={**cell.overrides, **overrides})


def peak(trace):
    return replay(trace, 8, ReplayConditions()).peak_allocated_bytes


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_traces_and_is_what_the_cpu_runs(small_cell, overrides):
    """Sizes are affine, and the last step repeats; parameters, tokens and output are the real policy's."""
    cell = vary(small_cell, overrides)
    trace = record_trace(cell)
    assert trace.fixed_batch_size is None
    assert trace.carried is not None
    check_grounding(ground(cell), trace.policy)


def test_temporal_ensembling_changes_nothing_in_training(small_cell, plain):
    """It averages actions when the policy acts."""
    trace = record_trace(vary(small_cell, VARIANTS["temporal ensembling"]))
    assert plain.events.tolist() == trace.events.tolist()
    assert peak(plain) == peak(trace)


def test_decoder_layers_but_the_first_take_memory(small_cell, plain):
    """Though lerobot's default is one, as the original used no more."""
    seven = record_trace(vary(small_cell, {"n_decoder_layers": 7}))
    assert peak(plain) < peak(seven)
    assert (10, 6) == seven.policy.output_shape


def test_without_the_vae_there_is_no_component_of_it(small_cell, plain):
    """And its memory is saved."""
    trace = record_trace(vary(small_cell, {"use_vae": False}))
    assert {p.component for p in plain.policy.parameters} - {
        p.component for p in trace.policy.parameters
    } == {"VAE encoder"}
    assert peak(trace) < peak(plain)


def test_it_learns_without_a_camera(small_cell):
    """From the state of the environment: a token each for latent, state and that, and no backbone."""
    cell = replace(small_cell, cameras=0, environment_dim=5)
    trace = record_trace(cell)
    assert (3, None) == (trace.policy.encoder_tokens, trace.fixed_batch_size)
    assert "backbone" not in {parameter.component for parameter in trace.policy.parameters}
    check_grounding(ground(cell), trace.policy)


def test_cameras_may_differ_in_size(small_cell):
    """Each has the tokens of its own feature map."""
    cell = replace(small_cell, cameras=["64x64", "96x64"], resolution="640x480")
    trace = record_trace(cell)
    assert 2 + 2 * 2 + 2 * 3 == trace.policy.encoder_tokens
    assert trace.fixed_batch_size is None
    check_grounding(ground(cell), trace.policy)


@pytest.mark.parametrize(
    ("given", "overrides", "words"),
    [
        ({}, {"n_obs_steps": 2}, "Multiple observation steps not handled yet"),
        ({}, {"replace_final_stride_with_dilation": True}, "Dilation > 1 not supported in BasicBlock"),
        ({}, {"temporal_ensemble_coeff": 0.01}, "`n_action_steps` must be 1 when using temporal ensembling"),
        ({"cameras": 0}, {}, "at least one image or the environment state"),
    ],
    ids=["history", "dilated resnet18", "ensembling of several steps", "nothing to see"],
)
def test_what_lerobot_refuses_is_refused(small_cell, given, overrides, words):
    """In its own words."""
    with pytest.raises(UsageError, match=words):
        record(vary(replace(small_cell, **given), overrides))
