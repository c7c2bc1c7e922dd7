"""What a policy's spec says is what happens; a policy of which nothing is said is profiled as well."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from actprof.errors import UsageError
from actprof.policies import act, policy_spec
from actprof.policies.apply_changes import change_policy
from actprof.policies.dataset import batches, dataset_meta
from actprof.policies.probe import Probe, policy_facts
from actprof.policies.spec import PolicySpec
from actprof.policies.workload import build_workload

CPU = torch.device("cpu")
NOTHING = {"action_delta_indices": None, "observation_delta_indices": None, "reward_delta_indices": None}


@pytest.fixture
def respecify(monkeypatch):
    """Return a function that gives ACT another spec: what is said of it, or nothing but its name."""

    def respecify(spec=act.SPEC, **said):
        monkeypatch.setattr(act, "SPEC", replace(spec, **said))

    return respecify


def shapes(cell, **indices):
    """Return the shapes in a batch of a policy with these delta indices, index columns left out."""
    batch = next(batches(cell, SimpleNamespace(**{**NOTHING, **indices}), CPU))
    index = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    return {key: tuple(value.shape) for key, value in batch.items() if key not in index}


# -- the batch, as lerobot's own config says ---------------------------------------------------------------


def test_a_history_gives_every_observation_a_dimension_and_a_mask(small_cell):
    """Frames as well as states, and nothing else."""
    cell = replace(small_cell, cameras=1)
    expected = {
        "observation.images.camera0": (2, 3, 3, 64, 64),
        "observation.images.camera0_is_pad": (2, 3),
        "observation.state": (2, 3, 6),
        "observation.state_is_pad": (2, 3),
        "action": (2, 16, 6),
        "action_is_pad": (2, 16),
    }
    assert expected == shapes(cell, observation_delta_indices=[-2, -1, 0], action_delta_indices=range(16))


def test_a_history_of_one_step_is_squeezed_for_frames_alone(small_cell):
    """As lerobot's reader of videos does."""
    found = shapes(small_cell, observation_delta_indices=[0])
    assert (2, 3, 64, 64) == found["observation.images.camera1"]
    assert (2, 1, 6) == found["observation.state"]
    assert (2, 1) == found["observation.images.camera1_is_pad"]


def test_without_windows_there_are_no_masks(small_cell):
    """A policy may learn from single actions."""
    found = shapes(small_cell)
    assert (2, 6) == found["action"]
    assert not [key for key in found if key.endswith("_is_pad")]


def test_rewards_are_there_for_who_learns_from_them(small_cell):
    """One figure for each time step; a dataset for other policies has none."""
    found = shapes(small_cell, reward_delta_indices=[0, 1, 2])
    assert ((2, 3), (2, 3)) == (found["next.reward"], found["next.reward_is_pad"])
    assert "next.reward" not in shapes(small_cell)
    assert "next.reward" not in dataset_meta(small_cell).features


def test_a_task_is_a_text_for_each_sample(small_cell, respecify):
    """For a policy that reads it; accelerate hands texts on as they are."""
    respecify(reads_task=True)
    task = next(batches(small_cell, SimpleNamespace(**NOTHING), CPU))["task"]
    assert 2 == len(task)
    assert all(isinstance(text, str) for text in task)


# -- how lerobot is asked ----------------------------------------------------------------------------------


def test_lerobot_builds_among_the_stand_ins(small_cell, respecify):
    """Policy and pre-processor alike; training itself needs none."""
    asked = []

    @contextmanager
    def stand_ins(cell):
        asked.append(cell)
        yield
        asked.append("left")

    respecify(stand_ins=stand_ins)
    build_workload(small_cell, CPU).step()
    assert [small_cell, "left"] == asked


def test_a_policy_that_asks_for_a_state_is_not_built_without(small_cell, respecify):
    """Said before anything is traced."""
    respecify(needs_state=True)
    with pytest.raises(UsageError, match=r"act asks every batch for observation\.state; give a state_dim"):
        build_workload(replace(small_cell, state_dim=0), CPU)


def test_a_library_that_lerobot_misses_is_named(small_cell, monkeypatch):
    """With lerobot's own words on what to install."""
    from lerobot.policies import factory

    def require(*_args, **_kwargs):
        raise ImportError("'diffusers' is required but not installed")

    monkeypatch.setattr(factory, "make_policy", require)
    with pytest.raises(UsageError, match="'diffusers' is required"):
        build_workload(small_cell, CPU)


@pytest.mark.parametrize("steps", [2, 3])
def test_as_many_steps_are_traced_as_the_spec_says(small_cell, respecify, steps):
    """For a policy whose first steps are of another kind."""
    from actprof.trace.record import record

    respecify(steps=steps)
    assert steps == len(record(small_cell).recorder.step_starts)


# -- changes -----------------------------------------------------------------------------------------------


def test_a_change_is_made_where_the_spec_says():
    """To whatever path of whatever policy."""
    policy = nn.ModuleDict({"eyes": nn.Linear(1, 1), "hands": nn.Linear(1, 1)})
    spec = PolicySpec(name="seer", parts={"backbone": "eyes"})
    change_policy(policy, ["frozen_backbone"], spec=spec, backward=torch.Tensor.backward)
    assert {"hands.weight", "hands.bias"} == {n for n, p in policy.named_parameters() if p.requires_grad}


def test_a_change_that_does_not_fit_is_refused_and_not_offered(small_cell, respecify):
    """By its name, with those that fit."""
    from actprof.advice.remedies import offers

    respecify(parts={})
    with pytest.raises(UsageError, match=r"fused_attention does not fit.* can take fused_adamw"):
        build_workload(replace(small_cell, changes=("fused_attention",)), CPU)
    assert {"adamw_8bit", "fused_adamw"} == {offer.name for offer in offers(small_cell) if offer.code}


# -- what is read off it -----------------------------------------------------------------------------------


def test_a_policy_of_which_nothing_is_said_is_probed(small_cell, respecify):
    """No tokens, no output, one component."""
    respecify(PolicySpec(name="act"))
    spec = policy_spec("act")
    workload = build_workload(replace(small_cell, overrides={"pretrained_backbone_weights": None}), CPU)
    with Probe(workload.policy, spec) as probe:
        workload.step()
    facts = policy_facts(workload.policy, spec, probe)
    assert (0, ()) == (facts.encoder_tokens, facts.output_shape)
    assert {"other"} == {parameter.component for parameter in facts.parameters}


def test_tokens_are_read_off_inputs_that_are_given_by_name():
    """As modules of transformers are called."""

    class Encoder(nn.Module):
        def forward(self, *, mask, embeddings):
            return embeddings if mask is None else mask

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Encoder()

    policy = Policy()
    with Probe(policy, PolicySpec(name="x", token_module="encoder")) as probe:  # noqa: S106 - a path
        policy.encoder(mask=None, embeddings=torch.zeros(2, 7, 16))
    assert 7 == probe.tokens


def test_a_spec_names_groups_of_activations(make_trace):
    """Where the names of a transformer's parts say nothing."""
    from actprof.hardware import Workspaces
    from actprof.prediction.attribution import attribute
    from actprof.replay.program import build_program
    from actprof.replay.replay import ReplayConditions, replay

    trace = make_trace()
    trace = replace(trace, policy=replace(trace.policy, groups=(("model", "feature maps"),)))
    profile = replay(trace, 8, ReplayConditions(), detail=True)
    breakdown = attribute(trace, profile, build_program(trace, profile.batch_size, Workspaces()))
    assert {"feature maps"} == {group for groups in breakdown.activations.values() for group in groups}


def test_a_sweep_checks_what_the_cpu_can_run(small_cell, respecify):
    """A policy of billions of parameters is left out."""
    from actprof.sweeps.cpu_check import _distinct

    scenario = SimpleNamespace(cells=[small_cell])
    assert [small_cell] == _distinct(scenario)
    respecify(grounded=False)
    assert [] == _distinct(scenario)
