"""TD-MPC: rewards, a history forwards in time, and a target network that follows."""

from dataclasses import replace

import pytest
import torch
from small_cells import check_every_batch_size

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measuring.grounding import check_grounding, ground
from actprof.policies.workload import build_workload
from actprof.trace.record import record, record_trace

SMALL = {
    "horizon": 2,
    "image_encoder_hidden_dim": 4,
    "state_encoder_hidden_dim": 8,
    "latent_dim": 6,
    "mlp_dim": 8,
}


@pytest.fixture(scope="module")
def cell():
    """A cell whose TD-MPC is small enough to run anywhere in seconds; its camera is square."""
    return Cell(policy="tdmpc", overrides=SMALL, cameras=1, resolution="64x64", batch_size=2, gpu=None)


@pytest.fixture(scope="module")
def trace(cell):
    """Return the trace of the small TD-MPC."""
    return record_trace(cell)


def test_one_trace_serves_every_batch_size(cell, trace):
    """Sizes are affine, and the last step repeats, whichever two heads of the ensemble are drawn."""
    check_every_batch_size(cell, trace)


def test_a_batch_has_the_future_and_its_rewards(cell):
    """Observations reach one step further than actions and rewards."""
    batch = next(build_workload(cell, torch.device("cpu")).batch_stream)
    assert (2, 3, 3, 64, 64) == tuple(batch["observation.images.camera0"].shape)
    assert ((2, 2, 6), (2, 2)) == (tuple(batch["action"].shape), tuple(batch["next.reward"].shape))


def test_the_target_network_learns_nothing(trace):
    """Half of the parameters, which no gradient reaches."""
    parameters = [parameter for parameter in trace.policy.parameters if not parameter.is_buffer]
    frozen = [parameter for parameter in parameters if not parameter.trainable]
    assert {"target network"} == {parameter.component for parameter in frozen}
    assert 2 * sum(p.count for p in frozen) == sum(p.count for p in parameters)


def test_it_follows_in_every_step(cell, trace):
    """`TDMPCPolicy.update`, which lerobot's step calls, scales each of its parameters."""
    followed = [p for p in trace.policy.parameters if p.component == "target network" and not p.is_buffer]
    recorder = record(cell).recorder
    clipped = 2  # the norm of the gradients, once a step
    assert 2 * len(followed) == recorder.op_names.count("aten.mul_.Tensor") - clipped


def test_the_trace_is_what_a_run_on_the_cpu_does(cell, trace):
    """The same parameters; it has no tokens."""
    check_grounding(ground(cell), trace.policy)
    assert 0 == trace.policy.encoder_tokens


@pytest.mark.parametrize(
    ("given", "words"), [({"cameras": 2}, "at most one image"), ({"resolution": "64x48"}, "square images")]
)
def test_what_it_cannot_see_is_refused(cell, given, words):
    """In lerobot's words."""
    with pytest.raises(UsageError, match=words):
        record(replace(cell, **given))


def test_it_learns_without_a_camera(cell):
    """From the state of the environment."""
    assert record_trace(replace(cell, cameras=0, environment_dim=5)).fixed_batch_size is None
