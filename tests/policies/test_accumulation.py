"""Batches whose gradients add up to one step, and a moving average of the parameters."""

from dataclasses import replace

import pytest
import torch

from actprof.policies.workload import build_workload
from actprof.replay.replay import ReplayConditions, replay
from actprof.trace.record import record, record_trace

BATCH = 64


@pytest.fixture(scope="module")
def plain(small_cell):
    """Return the trace of the small ACT as it is."""
    return record_trace(small_cell)


@pytest.fixture(scope="module")
def accumulated(small_cell):
    """Return its trace with four batches for each step."""
    return record_trace(replace(small_cell, accumulate=4))


def asked(trace):
    """Return the most bytes of tensors at once: what blocks have more is the allocator's."""
    return replay(trace, BATCH, ReplayConditions()).peak_requested_bytes


def learning(trace):
    """Return the bytes of all parameters that learn."""
    return sum(parameter.bytes for parameter in trace.policy.parameters if parameter.trainable)


def test_one_trace_serves_every_batch_size(accumulated):
    """It still has two steps, each with an update."""
    assert accumulated.fixed_batch_size is None
    assert accumulated.carried is not None
    assert 2 == len(accumulated.step_starts) == len(accumulated.update_starts)


def test_accumulation_keeps_one_set_of_gradients_more(plain, accumulated):
    """Through forward and backward pass, of which the plain peak has the first ones already."""
    more = asked(accumulated) - asked(plain)
    assert 0.98 * learning(plain) < more <= learning(plain)


def test_every_batch_goes_through_the_policy_and_one_step_is_taken(plain, accumulated):
    """Convolutions four times as often, the optimizer's ops no more often."""

    def count(trace, name):
        return sum(name in op for op in trace.ops.names)

    assert 4 * count(plain, "aten.convolution.") == count(accumulated, "aten.convolution.")
    assert count(plain, "_foreach_addcdiv_") == count(accumulated, "_foreach_addcdiv_")


def test_gradients_add_up_as_in_one_batch(small_cell):
    """The weights move once a step, by the mean of all batches."""
    workload = build_workload(replace(small_cell, accumulate=3), torch.device("cpu"))
    parameter = workload.policy.model.action_head.weight
    values, moved = parameter.detach().clone(), []
    accelerator = workload.accelerator
    backward = accelerator.backward

    def watched(loss):
        moved.append(not torch.equal(values, parameter))
        backward(loss)

    accelerator.backward = watched
    workload.step()
    assert [False, False, False] == moved
    assert not torch.equal(values, parameter)


def test_an_average_is_one_copy_of_the_parameters(small_cell, plain):
    """Of those too that learn nothing, for as long as the run lasts."""
    averaged = record_trace(replace(small_cell, ema=True))
    whole = sum(parameter.bytes for parameter in averaged.policy.parameters if not parameter.is_buffer)
    more = asked(averaged) - asked(plain)
    assert whole == more


def test_both_may_go_together(small_cell):
    """With an adapter as well."""
    peft = {"r": 4, "target_modules": ["linear1"]}
    recording = record(replace(small_cell, accumulate=2, ema=True, peft=peft))
    assert 2 == len(recording.recorder.step_starts)
