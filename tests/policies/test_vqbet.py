"""VQ-BeT trains twice: its VQ-VAE first, then all else; both are traced, and either can be asked for."""

from dataclasses import replace
from itertools import pairwise

import pytest
from small_cells import check_every_batch_size

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measuring.grounding import check_grounding, ground
from actprof.policies.vqbet import NEVER_ENDS
from actprof.policies.workload import policy_config
from actprof.replay.replay import ReplayConditions, replay
from actprof.trace.record import record, record_trace

SMALL = {
    "n_obs_steps": 2,
    "crop_shape": [48, 48],
    "spatial_softmax_num_keypoints": 4,
    "vqvae_n_embed": 4,
    "vqvae_embedding_dim": 8,
    "vqvae_enc_hidden_dim": 8,
    "gpt_block_size": 16,
    "gpt_input_dim": 16,
    "gpt_output_dim": 16,
    "gpt_hidden_dim": 16,
    "gpt_n_layer": 2,
    "gpt_n_head": 2,
}


@pytest.fixture(scope="module")
def cell():
    """A cell whose VQ-BeT is small enough to run anywhere in seconds; it has one camera."""
    return Cell(policy="vqbet", overrides=SMALL, cameras=1, resolution="64x64", batch_size=2, gpu=None)


@pytest.fixture(scope="module")
def trace(cell):
    """Return the trace of the small VQ-BeT."""
    return record_trace(cell)


@pytest.fixture(scope="module")
def first(cell):
    """Return the trace of the training of its VQ-VAE alone."""
    return record_trace(for_ever(cell))


def for_ever(cell):
    return replace(cell, overrides={**cell.overrides, "n_vqvae_training_steps": NEVER_ENDS})


def modules_by_step(trace):
    """Return the modules that made an allocation, for each step."""
    starts = [*trace.step_starts, len(trace.events)]
    return [
        {trace.ops.modules[trace.tensors.op[event - 1]] for event in trace.events[start:end] if event > 0}
        for start, end in pairwise(starts)
    ]


def test_one_trace_serves_every_batch_size(cell, trace):
    """Sizes are affine, and the last step repeats."""
    check_every_batch_size(cell, trace)


def test_the_vq_vae_learns_first_and_alone(trace):
    """In the first step; the GPT runs in those behind it."""
    ran = [any(m.startswith("vqbet.policy") for m in modules) for modules in modules_by_step(trace)]
    assert [False, True, True] == ran


def test_a_run_that_never_gets_further_is_of_the_first_kind(first):
    """Nothing but the VQ-VAE runs, in any step, and there are no tokens."""
    assert not any(m.startswith("vqbet.policy") for modules in modules_by_step(first) for m in modules)
    assert 0 == first.policy.encoder_tokens


def test_the_second_kind_takes_more_memory(trace, first):
    """So that its figures are those of a run."""
    whole, alone = (replay(t, 8, ReplayConditions()).peak_allocated_bytes for t in (trace, first))
    assert whole > alone


def test_the_state_of_the_vq_vae_stays(trace):
    """What the optimizer keeps of its parameters lives on in the last step, as nothing frees it."""
    freed = {-event for event in trace.events if event < 0}
    kept = trace.tensors.kind == 5  # optimizer state
    first_step = [e for e in trace.events[: trace.step_starts[1]] if e > 0 and kept[e - 1]]
    assert first_step
    assert not freed & set(first_step)


def test_both_kinds_are_said(trace):
    """With what asks for the first."""
    assert any(f"n_vqvae_training_steps is {NEVER_ENDS:,} or more" in text for text in trace.assumptions)


@pytest.mark.parametrize("steps", [0, 1, 20_000])
def test_how_long_the_first_kind_lasts_changes_nothing(cell, steps):
    """One step of it is enough."""
    config = policy_config_among_stand_ins(
        replace(cell, overrides={**SMALL, "n_vqvae_training_steps": steps})
    )
    assert 1 == config.n_vqvae_training_steps


def policy_config_among_stand_ins(cell):
    from actprof.policies import policy_spec

    with policy_spec("vqbet").stand_ins(cell):
        return policy_config(cell)


def test_tokens_are_those_of_the_gpt(trace):
    """Image, state and query of two steps of the history, and two queries more."""
    assert 2 * 3 + 2 == trace.policy.encoder_tokens
    assert {"image encoder", "GPT", "VQ-VAE", "action head", "projections"} == {
        parameter.component for parameter in trace.policy.parameters
    }


def test_the_trace_is_what_a_run_on_the_cpu_does(cell, trace):
    """Of a step of the second kind."""
    check_grounding(ground(cell), trace.policy)


def test_it_says_nothing_on_standard_output(cell, capsys):
    """Where answers are printed; lerobot would announce the second kind there."""
    record(cell)
    assert "" == capsys.readouterr().out


def test_a_second_camera_is_refused(cell):
    """In lerobot's words."""
    with pytest.raises(UsageError, match="only one image"):
        record(replace(cell, cameras=2))


@pytest.mark.parametrize("overrides", [{"sequentially_select": True}, {"use_group_norm": True}])
def test_its_variants_trace_as_well(cell, overrides):
    """One trace for all batch sizes."""
    assert record_trace(replace(cell, overrides={**SMALL, **overrides})).fixed_batch_size is None
