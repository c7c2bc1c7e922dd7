"""FSDP2 on pretended GPUs allocates what it allocates with two real processes, and what a formula expects.

Real are two processes with gloo and PyTorch's own engine on the CPU. They take more in three places: gloo's
own copies (left out), kernels of the CPU that need room inside, and Adam's step counters, which a GPU's run
has on the host.
"""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sharded import ReadingNet, TwoDtypes, cell, on_fake_cuda, on_two_processes, record_policy, seen

from actprof.errors import ActprofError
from actprof.hardware import builtin_catalogue
from actprof.replay.replay import ReplayConditions, replay
from actprof.step_time.step import play_step
from actprof.trace.cache import STOPS
from actprof.trace.model import KINDS
from actprof.trace.record import _why_not, record, record_trace

BLOCKS, WIDTH = 16, 128
BLOCK_BYTES = (8 * WIDTH * WIDTH + 7 * WIDTH) * 4
PARAMETER_BYTES = BLOCKS * BLOCK_BYTES + 2 * (WIDTH * WIDTH + WIDTH) * 4
# Of the four blocks' net in `sharded`: each has a counter of four bytes.
COUNTERS = (4 * 6 + 4) * 4

NETS = {
    "by block": cell("Block"),
    "root only": cell(),
    "not resharded": cell("Block", reshard_after_forward=False),
    "accumulated": cell("Block", accumulate=2),
    "bf16": cell("Block", precision="bf16"),
}
ACT = cell(
    "ACTEncoderLayer",
    "ACTDecoderLayer",
    policy="act",
    batch_size=2,
    resolution="96x96",
    cameras=1,
    # without dropout, whose masks are other ones on the CPU
    overrides={
        "dim_model": 64, "n_heads": 4, "dim_feedforward": 128, "chunk_size": 10, "n_action_steps": 10,
        "n_encoder_layers": 2, "n_vae_encoder_layers": 1, "dropout": 0.0,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def really(tmp_path_factory):
    """What the first of two processes saw of each net, and of ACT."""
    cells = [NETS["by block"], *NETS.values(), ACT]  # the first one also sees DTensor work out its rules
    _first, *rest = on_two_processes(cells, str(tmp_path_factory.mktemp("gloo") / "store"))
    return dict(zip([*NETS, "act"], rest, strict=True))


@cache
def pretended(name):
    """What one process sees of a net, or of ACT, on fake CUDA."""
    return seen(record_policy(ACT, "cuda")) if name == "act" else on_fake_cuda(NETS[name])


def comes_in_order(fewer, more):
    """Tell whether all of `fewer` are among `more`, in the same order."""
    left = iter(more)
    return all(event in left for event in fewer)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["by block", "root only", "not resharded", "accumulated"])
def test_a_net_allocates_and_frees_as_on_two_processes(really, name):
    """Forward passes are equal; each event of a backward pass is in the real one, in order."""
    real, fake = really[name], pretended(name)

    assert real.of("forward") == fake.of("forward")
    for ours, theirs in zip(fake.of("backward"), real.of("backward"), strict=True):
        assert comes_in_order(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_what_lives_after_each_pass_is_equal_to_the_byte(really, name):
    """After the first step there are the counters of Adam besides."""
    real, fake = really[name], pretended(name)

    both_steps = sorted([0, COUNTERS] * NETS[name].accumulate)
    assert both_steps == minus(real, fake, "backward")
    assert COUNTERS == minus(real, fake, "optimizer")[-1]
    if name != "bf16":  # whose layer norm runs in fp32 on a GPU
        assert both_steps == minus(real, fake, "forward")


def minus(real, fake, phase):
    """Return by how many bytes more are alive after each stretch of a phase."""
    return [a - b for a, b in zip(real.live_after(phase), fake.live_after(phase), strict=True)]


@pytest.mark.slow
def test_act_allocates_and_frees_as_on_two_processes(really):
    """Each event of lerobot's own steps is in the real ones, and what lives is equal.

    Besides there are batches on the host, which a GPU's run does not count, and Adam's counters.
    """
    real, fake = really["act"], pretended("act")

    for phase in ("forward", "backward"):
        for ours, theirs in zip(fake.of(phase), real.of(phase), strict=True):
            assert comes_in_order(ours, theirs)
    after = {phase: minus(real, fake, phase) for phase in ("data", "forward", "backward", "optimizer")}
    host, counters = after["forward"][0], after["forward"][1] - after["forward"][0]
    assert 93 * 4 == counters
    assert [host, host + counters] == after["forward"] == after["backward"]


def test_real_tensors_need_no_other_process():
    """As `actprof measure` runs it: with the pretended group and torch's engine, here on the CPU."""
    real, fake = seen(record_policy(ACT, "cpu")), pretended("act")

    for phase in ("forward", "backward"):
        for ours, theirs in zip(fake.of(phase), real.of(phase), strict=True):
            assert comes_in_order(ours, theirs)
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("units", "precision", "gpus", "expected"),
    [
        ((), "fp32", 2, 2 + 3 / 2),  # gradients and what is to be reduced, beside three of the shards
        ((), "fp32", 8, 2 + 3 / 8),
        ((), "bf16", 8, 1 + 3 / 8),  # accelerate gathers and reduces in bf16
        (("Block",), "fp32", 2, 5 / 2),  # at the optimizer: shards, gradients, two of state, one temporary
        (("Block",), "fp32", 8, 4 / 8 + 4 * BLOCK_BYTES / PARAMETER_BYTES),
        (("Block",), "bf16", 8, 4 / 8 + 2 * BLOCK_BYTES / PARAMETER_BYTES),
    ],
)
def test_the_peak_is_what_a_formula_expects(units, precision, gpus, expected):
    """Without activations to speak of, in units of the parameters' bytes, within 2 %."""
    of = cell(*units, world_size=gpus, precision=precision)
    peak = on_fake_cuda(of, blocks=BLOCKS, width=WIDTH, tokens=2).peak

    assert peak / PARAMETER_BYTES == pytest.approx(expected, rel=0.02)


@pytest.fixture(scope="module")
def act_trace():
    return record_trace(replace(ACT, batch_size=8))


@pytest.mark.slow
def test_one_trace_serves_all_batch_sizes(act_trace):
    """Sizes grow in a straight line with the batch, shards not at all; its last step can be repeated."""
    assert act_trace.fixed_batch_size is None
    assert act_trace.carried is not None


@pytest.mark.slow
def test_collectives_have_streams_of_their_own(act_trace):
    """What is gathered and reduced comes from two of the four that FSDP makes, and shares no memory."""
    streams = act_trace.tensors.stream
    assert {0, 1, 3} == set(streams.tolist())

    together = replace(act_trace, tensors=replace(act_trace.tensors, stream=np.zeros_like(streams)))
    apart, one = (replay(trace, 8, ReplayConditions()) for trace in (act_trace, together))
    assert one.peak_requested_bytes == apart.peak_requested_bytes
    assert one.peak_reserved_bytes < apart.peak_reserved_bytes


@pytest.mark.slow
def test_what_is_gathered_is_told_from_what_a_gpu_keeps(act_trace):
    """Each is named, as often as it is gathered: a layer's in both passes of two steps, the root's once."""
    owners, tensors = act_trace.details().owners, act_trace.tensors
    gathered = Counter(
        owner
        for owner, kind in zip(owners, tensors.kind.tolist(), strict=True)
        if KINDS[kind] == "gathered parameters"
    )

    assert {parameter.path for parameter in act_trace.policy.parameters if not parameter.is_buffer} == set(
        gathered
    )
    assert (4, 2) == (gathered["model.encoder.layers.0.linear1.weight"], gathered["model.action_head.weight"])


@pytest.mark.slow
def test_bytes_of_collectives_are_those_of_all_gpus(act_trace):
    """A step gathers the layers twice and the rest once, and reduces every gradient, each padded a little."""
    ops, parameters = act_trace.ops, [one for one in act_trace.policy.parameters if not one.is_buffer]
    whole = sum(parameter.bytes for parameter in parameters)
    layers = sum(parameter.bytes for parameter in parameters if ".layers." in parameter.path)
    moved = Counter()
    for name, size in zip(ops.names, ops.bytes_constant.tolist(), strict=True):
        moved[name] += size

    assert 2 * (whole + layers) == pytest.approx(moved["c10d._allgather_base_.default"], rel=0.01)
    assert 2 * whole == pytest.approx(moved["c10d._reduce_scatter_base_.default"], rel=0.01)


@pytest.mark.slow
def test_a_step_of_a_sharded_policy_is_played(act_trace):
    """Copies into and out of the collectives are launches; the network's own time is not among them."""
    step = play_step(act_trace, 8, builtin_catalogue().find("H100"))
    names = {act_trace.ops.names[row] for row in step.rows}

    assert {"fsdp.all_gather_copy_in.default", "fsdp.chunk_cat.default"} < names
    assert not any(name.startswith(("c10d", "storage")) for name in names)


def test_a_unit_that_is_never_called_is_never_gathered():
    """Its weights meet the batch as shards, which torch refuses; a trace says so in other words."""
    assert on_fake_cuda(cell(), net_of=ReadingNet)
    with pytest.raises(RuntimeError) as stopped:
        on_fake_cuda(cell("Block"), net_of=ReadingNet)

    reason = _why_not(ACT, stopped.value)
    assert reason.startswith(STOPS)
    assert "reads weights of a module without calling the module" in reason


def test_what_torch_refuses_to_shard_would_stop_a_gpu():
    """As trained parameters of two dtypes in one unit."""
    with pytest.raises(AssertionError) as stopped:
        on_fake_cuda(cell(), net_of=TwoDtypes)

    assert _why_not(ACT, stopped.value).startswith(STOPS)
    assert "uniform original parameter dtype" in _why_not(ACT, stopped.value)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"wrap_modules": ("NoSuchLayer",)}, "wrap_modules names NoSuchLayer.*ACTEncoderLayer"),
        ({"precision": "fp16"}, "refuses fp16"),
    ],
)
def test_what_no_sharded_run_can_be_is_said(fields, reason):
    """Before anything is traced."""
    with pytest.raises(ActprofError, match=reason):
        record(replace(ACT, **fields))
