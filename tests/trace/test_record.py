"""Recording lerobot's ACT on a CUDA device that is not there."""

import itertools
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from actprof.errors import TraceError, UsageError
from actprof.progress import listening
from actprof.trace.affine import fit
from actprof.trace.model import KINDS, PHASES
from actprof.trace.record import BATCH_SIZES, record, record_trace


@pytest.fixture(scope="session")
def small_trace(small_cell):
    """Return the trace of the small ACT."""
    return record_trace(small_cell)


def test_what_is_traced_is_said(small_cell):
    """Each batch size, and one that has a trace of its own."""
    told = []
    with listening(lambda progress: told.append(progress.text)):
        record_trace(small_cell)
        record_trace(replace(small_cell, batch_size=1))

    sizes = [f"tracing ACT at batch size {size}, {place} of 3" for place, size in enumerate(BATCH_SIZES, 1)]
    assert [*sizes, "tracing ACT at batch size 1, which has a trace of its own"] == told


def columns_of(recorder):
    """Return everything that a step is made of, to compare recordings."""
    return recorder.sizes, recorder.kinds, recorder.tensor_ops, recorder.op_names, recorder.op_modules


@pytest.mark.parametrize(
    ("resolution", "tokens"), [("640x480", 602), ("320x240", 162), ("224x224", 100), ("64x96", 14)]
)
def test_tokens_are_read_off_the_encoders_input(small_cell, resolution, tokens):
    """One latent, one state, and two cameras' feature maps of a 32nd of the image's sides."""
    facts = record(replace(small_cell, resolution=resolution), steps=1).policy
    assert tokens == facts.encoder_tokens
    assert (10, 6) == facts.output_shape


def test_the_policy_is_the_one_of_lerobot(small_trace):
    """Parameters by component; batch-norm statistics are buffers of the backbone."""
    by_component = {}
    for parameter in small_trace.policy.parameters:
        if not parameter.is_buffer:
            by_component[parameter.component] = by_component.get(parameter.component, 0) + parameter.count
    assert 11_166_912 == by_component["backbone"]  # ResNet-18 without its classifier and frozen norms
    assert {"backbone", "VAE encoder", "encoder", "decoder", "projections and embeddings"} == set(
        by_component
    )
    assert sum(by_component.values()) == small_trace.policy.parameter_count
    assert {"backbone"} == {p.component for p in small_trace.policy.parameters if "running_mean" in p.path}


def test_a_third_step_is_like_the_second(small_cell):
    """The law behind `carried`: from step two on, every step does the same."""
    recorder = record(small_cell, steps=4).recorder
    starts = [*recorder.step_starts, len(recorder.events)]
    steps = [np.array(recorder.events[a:b]) for a, b in itertools.pairwise(starts)]
    assert len(steps[1]) == len(steps[2]) == len(steps[3])

    def relative(step):
        """Name each tensor by where it was born: in this step, in the one before, or in the set-up."""
        first = step[step > 0].min()
        return np.where(step > 0, step - first, step + first)

    assert np.array_equal(relative(steps[2]), relative(steps[3]))
    sizes = np.array(recorder.sizes)
    allocated = [sizes[step[step > 0] - 1] for step in steps]
    assert np.array_equal(allocated[1], allocated[2])
    # The first step makes the optimizer's state besides.
    assert len(allocated[0]) > len(allocated[1])


def test_two_steps_and_their_carried_pairs_stand_for_four(small_cell, small_trace):
    """Repeating the last step with the carried tensors renamed gives what recording goes on to see."""
    longer = record(small_cell, steps=4).recorder
    events, sizes = _repeated(small_trace, small_cell.batch_size, more_steps=2)
    assert _sizes_of_events(longer.events, longer.sizes) == _sizes_of_events(events, sizes)


def _repeated(trace, batch_size, more_steps):
    """Return the trace's events with its last step appended, as a replay does it."""
    sizes = trace.tensors.requested_bytes(batch_size).tolist()
    events, name = trace.events.tolist(), {}
    last = events[trace.step_starts[-1] :]
    for _ in range(more_steps):
        name |= {old: name.get(new, new) for old, new in trace.carried}
        for event in last:
            tensor = abs(event) - 1
            if event > 0:
                name[tensor] = len(sizes)
                sizes.append(sizes[tensor])
            events.append((name.get(tensor, tensor) + 1) * (1 if event > 0 else -1))
    return events, sizes


def _sizes_of_events(events, sizes):
    """Return signed sizes, frees between two allocations sorted; only what is alive may be freed."""
    alive, out, frees = set(), [], []
    for event in events:
        tensor = abs(event) - 1
        if event >= 0:
            out += sorted(frees)
            frees.clear()
        if event > 0:
            alive.add(tensor)
            out.append(sizes[tensor])
        else:
            alive.remove(tensor)
            frees.append(-sizes[tensor])
    return out + sorted(frees)


@pytest.mark.parametrize("batch_size", [5, 16])
def test_the_fitted_sizes_are_those_of_another_batch_size(small_cell, small_trace, batch_size):
    """Fitted at 2, 3 and 7, true at the others: every size, every FLOP, every byte."""
    recorder = record(replace(small_cell, batch_size=batch_size)).recorder
    alone = fit([recorder], (batch_size,))
    assert BATCH_SIZES == small_trace.batch_sizes
    assert np.array_equal(alone["events"], small_trace.events)
    assert recorder.sizes == small_trace.tensors.requested_bytes(batch_size).tolist()
    ops = small_trace.ops
    assert recorder.op_flops == (ops.flops_constant + ops.flops_per_sample * batch_size).tolist()
    assert recorder.op_bytes == (ops.bytes_constant + ops.bytes_per_sample * batch_size).tolist()


def test_a_trace_serves_every_batch_size_but_one(small_cell, small_trace):
    """Batch size one is traced for itself, as with a dimension of one less is copied."""
    assert small_trace.holds_for(2)
    assert small_trace.holds_for(4096)
    assert not small_trace.holds_for(1)
    single = record_trace(replace(small_cell, batch_size=1))
    assert 1 == single.fixed_batch_size
    assert single.holds_for(1)
    assert not single.holds_for(2)
    assert single.tensors.requested_bytes(1).sum() != small_trace.tensors.requested_bytes(1).sum()


def test_parameters_gradients_and_state_add_up(small_cell, small_trace):
    """AdamW keeps two moments per trained parameter, and gradients come and go in every step."""
    bytes_of = {p.path: p.bytes for p in small_trace.policy.parameters if not p.is_buffer}
    trained = sum(p.bytes for p in small_trace.policy.parameters if p.trainable and not p.is_buffer)
    kinds = np.array(small_trace.tensors.kind)
    sizes = small_trace.tensors.requested_bytes(small_cell.batch_size)

    def total(kind):
        return int(sizes[kinds == KINDS.index(kind)].sum())

    assert sum(bytes_of.values()) == total("parameters")
    assert 2 * trained == total("optimizer state")
    assert small_trace.steps * trained == total("gradients")
    for kind in ("parameters", "optimizer state"):
        assert not small_trace.tensors.per_sample[kinds == KINDS.index(kind)].any()


def test_every_phase_has_work(small_trace):
    """Data, forward, backward and optimizer all launch kernels."""
    assert set(range(len(PHASES))) == set(small_trace.ops.phase.tolist())
    # loss, KL and L1 loss, and the gradient norm, per step.
    assert 2 * 4 == int(small_trace.ops.sync.sum())


# -- what is known of each tensor and op -------------------------------------------------------------------


def test_shapes_and_dtypes_give_the_bytes(small_trace):
    """At every batch size, for every tensor but the temporaries inside kernels."""
    details, tensors = small_trace.details(), small_trace.tensors
    known = [index for index, shape in enumerate(details.shapes) if shape is not None]
    inside = [index for index, shape in enumerate(details.shapes) if shape is None]
    assert tensors.op[inside].tolist() == details.freed_by[inside].tolist()  # gone when their op ends
    assert len(inside) < 0.2 * len(details.shapes)
    assert not tensors.requested_bytes(64)[tensors.problem >= 0].any()
    assert {"temporaries"} >= {
        KINDS[tensors.kind[index]] for index, shape in enumerate(details.shapes) if shape is None
    }
    for batch_size in (2, 5, 64):
        sizes = tensors.requested_bytes(batch_size)
        for index in known:
            count = math.prod(
                constant + per_sample * batch_size for constant, per_sample in details.shapes[index]
            )
            assert sizes[index] == count * getattr(torch, details.dtypes[index]).itemsize


def test_every_op_has_a_line(small_trace):
    """Set-up, forward, backward and optimizer also one of lerobot; attention that of `_softmax`."""
    ops, details = small_trace.ops, small_trace.details()
    assert all(details.op_lines)
    nobody = {
        PHASES[phase]
        for phase, caller in zip(ops.phase.tolist(), details.op_callers, strict=True)
        if not caller
    }
    assert {"data"} >= nobody
    softmax = [row for row, name in enumerate(ops.names) if name == "aten._softmax.default"]
    backward = [row for row, name in enumerate(ops.names) if name == "aten._softmax_backward_data.default"]
    assert {details.op_lines[row] for row in softmax} == {details.op_lines[row] for row in backward}
    for row in softmax + backward:
        assert re.fullmatch(r"torch/nn/functional.py:\d+ multi_head_attention_forward", details.op_lines[row])
        assert re.fullmatch(r"lerobot/policies/act/modeling_act.py:\d+ forward", details.op_callers[row])


def test_gradients_and_state_belong_to_their_parameters(small_trace):
    """Each gradient has its parameter's size and shape, and AdamW two moments of it."""
    details, tensors = small_trace.details(), small_trace.tensors
    bytes_of = {p.path: p.bytes for p in small_trace.policy.parameters}
    owned = {kind: Counter() for kind in KINDS}
    for index, owner in enumerate(details.owners):
        kind = KINDS[tensors.kind[index]]
        owned[kind][owner] += int(tensors.constant[index])
        assert not owner or tensors.constant[index] == bytes_of[owner]
    trained = {p.path: p.bytes for p in small_trace.policy.parameters if p.trainable and not p.is_buffer}
    assert {p.path: p.bytes for p in small_trace.policy.parameters if not p.is_buffer} == owned["parameters"]
    assert {path: small_trace.steps * size for path, size in trained.items()} == owned["gradients"]
    assert {path: 2 * size for path, size in trained.items()} == owned["optimizer state"]
    assert {p.path for p in small_trace.policy.parameters if p.is_buffer} == set(owned["buffers"]) - {""}
    for kind in ("inputs", "activations", "temporaries"):
        assert {""} == set(owned[kind])


def test_frees_are_named_as_the_events_have_them(small_trace):
    """What the events free has the op after which it went; activations go in the reverse pass."""
    details, tensors, ops = small_trace.details(), small_trace.tensors, small_trace.ops
    freed = -small_trace.events[small_trace.events < 0] - 1
    assert sorted(freed.tolist()) == np.flatnonzero(details.freed_by >= 0).tolist()
    assert np.all(details.freed_by[freed] >= tensors.op[freed])
    activations = tensors.kind == KINDS.index("activations")
    phases = Counter(PHASES[ops.phase[row]] for row in details.freed_by[activations].tolist())
    assert phases["backward"] > 0.9 * phases.total()


# -- precision and optimizers ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mixed_traces(small_cell):
    """Return the traces of both mixed precisions."""
    return {name: record_trace(replace(small_cell, precision=name)) for name in ("bf16", "fp16")}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_really_on(small_trace, mixed_traces, precision):
    """Matrix products and convolutions take half, parameters and gradients stay as they are."""
    mixed = mixed_traces[precision]
    assert mixed.fixed_batch_size is None
    assert mixed.carried is not None

    def made_by(op, trace):
        rows = [trace.ops.names[row] == op for row in trace.tensors.op.tolist()]
        return int(trace.tensors.per_sample[rows].sum())

    for op in ("aten.bmm.default", "aten.convolution.default"):
        assert made_by(op, small_trace) == 2 * made_by(op, mixed) > 0
    for kind in (KINDS.index(name) for name in ("parameters", "gradients", "optimizer state")):
        one, other = (t.tensors.constant[t.tensors.kind == kind].sum() for t in (small_trace, mixed))
        assert one == other


def test_only_fp16_scales_its_loss(mixed_traces):
    """bf16 has the range of fp32."""
    scaling = "aten._amp_foreach_non_finite_check_and_unscale_.default"
    assert scaling in mixed_traces["fp16"].ops.names
    assert scaling not in mixed_traces["bf16"].ops.names
    # The scaler waits once per step to hear of overflows.
    assert mixed_traces["bf16"].ops.sync.sum() + 2 == mixed_traces["fp16"].ops.sync.sum()


def test_use_amp_is_autocasts_default_on_cuda(small_cell, mixed_traces):
    """As `lerobot_train` reads it: fp16 unless torch says otherwise."""
    amp = record(replace(small_cell, overrides={**small_cell.overrides, "use_amp": True}))
    fp16 = record(replace(small_cell, precision="fp16"))
    assert columns_of(fp16.recorder) == columns_of(amp.recorder)


@pytest.mark.parametrize(("optimizer", "moments"), [("adam", 2), ("sgd", 0), ("adamw", 2)])
def test_other_optimizers_keep_their_own_state(small_cell, optimizer, moments):
    """Lerobot's Adam has two moments, its SGD (without momentum) none."""
    recording = record(replace(small_cell, optimizer=optimizer))
    recorder = recording.recorder
    state = sum(
        size
        for size, kind in zip(recorder.sizes, recorder.kinds, strict=True)
        if KINDS[kind] == "optimizer state"
    )
    assert moments * sum(p.bytes for p in recording.policy.parameters if p.trainable) == state


# -- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"overrides": {"chunk_sise": 50}}, r"no field 'chunk_sise'; did you mean chunk_size"),
        ({"overrides": {"qqqq": 1}}, r"no field 'qqqq'; it has .*chunk_size"),
        ({"overrides": {"chunk_size": 5, "n_action_steps": 50}}, "lerobot refuses this policy"),
        ({"overrides": {"vision_backbone": "vgg16"}}, "lerobot refuses this policy"),
        ({"optimizer": "adamm"}, r"'adamm' is not an optimizer; choose one of preset, adamw, adam, sgd"),
        ({"policy": "actt"}, r"'actt' is not a policy that actprof knows; .*act"),
        ({"state_dim": 0}, r"asks every batch for observation.state; give a state_dim"),
    ],
    ids=["near", "far", "steps", "backbone", "optimizer", "policy", "no state"],
)
def test_what_lerobot_refuses_is_a_usage_error(small_cell, change, message):
    """The message names the value and what could be instead."""
    with pytest.raises(UsageError, match=message):
        record_trace(replace(small_cell, **change))


def test_an_op_that_cannot_be_traced_is_a_trace_error(small_cell, monkeypatch):
    """With the policy's name and what went wrong."""
    from actprof.policies.workload import Workload

    def step(_workload, _phase):
        raise NotImplementedError("no fake kernel")

    monkeypatch.setattr(Workload, "step", step)
    with pytest.raises(TraceError, match="ACT cannot be traced without the device: no fake kernel"):
        record(small_cell)


def test_the_same_cell_recorded_on_the_cpu_has_the_same_parameters(small_cell):
    """The recorder takes real tensors too: the same policy, tokens and output."""
    fake, real = record(small_cell, steps=1), record(small_cell, steps=1, device_type="cpu")
    assert fake.policy == real.policy


def test_a_moving_average_is_one_more_copy_of_each_parameter(small_cell):
    """It is a kind of its own, and belongs to the module whose parameter it follows."""
    recorder = record(replace(small_cell, ema=True), steps=1).recorder
    held = {
        kind: {
            (recorder.owners[tensor], recorder.sizes[tensor])
            for tensor, index in enumerate(recorder.kinds)
            if KINDS[index] == kind
        }
        for kind in ("parameters", "moving average")
    }
    assert held["parameters"] == held["moving average"]
