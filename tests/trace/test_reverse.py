"""The reverse pass in Python equals the C++ engine on real tensors.

"Equal" means: the same gradients bit for bit, the same ATen ops on the same shapes in the same order, and the
same allocations and frees in the same order, so that memory is held exactly as long as the engine holds it.
"""

import weakref
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint
from watched import watch

from actprof.trace.reverse import reverse_pass
from actprof.trace.saved_tensors import saving_tensors


def leaf(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype).requires_grad_()


# -- programs: each returns the loss and the leaves whose gradients are compared ---------------------------


def branches():
    """Branches that meet: gradients are added in place, but not into what someone else holds."""
    w, x = leaf(8, 8), torch.randn(4, 8)
    h = (x @ w).relu()
    return (h.sin() + h.cos() + h * 2).sum() + (w * w).sum(), [w]


def shared_gradient():
    """`a + b` hands one gradient to both; neither may be changed in place."""
    a, b = leaf(5, 3), leaf(5, 3)
    c = a * 2
    d = c + b
    return (d + c + (c + d) * b).exp().sum(), [a, b]


def gradient_that_is_a_view():
    """Views hand on gradients that share their storage."""
    a = leaf(4, 6)
    h = a * 3
    return (h.t().reshape(4, 6) + h.view(6, 4).t().reshape(4, 6) + h.view(2, 12).view(4, 6) + h).sum(), [a]


def gradient_that_is_expanded():
    """The gradient of a sum is expanded: not dense, so it is added out of place and cloned for a leaf."""
    a, b = leaf(4, 6), leaf(4, 6)
    h = b * 2
    return a.sum() + h.sum() + h.mean() + (h * h).sum(), [a, b]


def unused_outputs():
    """What nobody used has no gradient, and some nodes get only undefined ones."""
    a = leaf(6, 6)
    values, _indices = (a * 2).max(dim=1)
    first, _second, third = (a + 1).chunk(3)
    return values.sum() + (first * third).sum(), [a]


def several_outputs():
    """Split, unbind, chunk, top-k, sort and max with indices."""
    a = leaf(6, 6)
    x, y = a.split([2, 4])
    rows = (a * a).unbind()
    top = a.topk(2, dim=1)[0]
    low, high = a.exp().chunk(2, dim=1)
    best = a.max(dim=0)
    total = x.sum() + y.prod(dim=0).sum() + rows[0].dot(rows[3]) + top.pow(2).sum()
    return total + (low * high).sum() + best.values.sum() + a.sort(dim=0)[0][1].sum(), [a]


def loss_that_is_one_of_several_outputs():
    """The seed goes to the output that the loss is."""
    a = leaf(3)
    return (a * a).unbind()[1], [a]


def broadcasting():
    """Gradients of what was broadcast are summed to its size before they are accumulated."""
    row, column, scalar, cube = leaf(1, 5), leaf(4, 1), leaf(1)[0].detach().requires_grad_(), leaf(2, 4, 5)
    h = row * 2
    return ((cube + h) * column - scalar * h + h).sum(), [row, column, scalar, cube]


def dtype_changes():
    """Gradients return to the dtype of what they belong to."""
    a, b = leaf(4, 4), leaf(4, 4, dtype=torch.float64)
    h = a.to(torch.bfloat16) @ a.to(torch.bfloat16)
    mixed = a * b + h
    return mixed.sum() + (a.half().float() * b.float()).sum().double(), [a, b]


def autocast():
    """Autocast's cached bf16 weight collects the gradients of every use."""
    w, v, x = leaf(8, 8), leaf(8), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = F.linear(x, w, v)
        h = F.linear(h.relu(), w, v)
        h = F.softmax(h, dim=-1) @ w
    return h.float().pow(2).sum(), [w, v]


def views_and_in_place_ops():
    """In-place ops on views rewrite the history of their base."""
    a, b = leaf(4, 6), leaf(2, 6)
    h = a * 1
    h[1:3].mul_(b)
    h[:, 0] += 1
    h.view(6, 4)[2].copy_(b.flatten()[:4])
    h.relu_()
    return (h * h).sum(), [a, b]


def leaf_used_many_times():
    """A leaf's gradients arrive one by one."""
    a = leaf(5, 5)
    h = a
    for _ in range(5):
        h = h @ a + a
    return h.sum() + a.t().sum() + a[2].sum(), [a]


def leaf_that_has_a_gradient():
    """A gradient that is there is added to in place."""
    a, b = leaf(5, 5), leaf(5)
    a.grad, b.grad = torch.randn(5, 5), torch.randn(5)
    return (a @ b).sum() + a.sum(), [a, b]


def layouts_that_differ():
    """A leaf's gradient takes the leaf's strides if that is dense, else it is row-major."""
    transposed = torch.randn(4, 3).t().requires_grad_()
    channels_last = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    strided = torch.randn(6, 6)[::2, ::2].requires_grad_()
    plain = leaf(3, 4)
    total = (transposed * plain).sum() + channels_last.pow(2).sum() + channels_last.sum()
    return total + (strided @ strided).sum() + plain.t().exp().sum(), [
        transposed,
        channels_last,
        strided,
        plain,
    ]


def convolutions():
    """A small residual block in channels-last and row-major layout."""
    torch.set_flush_denormal(False)
    block = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    )
    tail = nn.Conv2d(4, 4, 1, bias=False)
    h = block(torch.randn(2, 3, 8, 8))
    h = F.relu(h + tail(h)).to(memory_format=torch.channels_last)
    return tail(h).mean(), [*block.parameters(), *tail.parameters()]


class Scaled(torch.autograd.Function):
    """Several inputs, one of them no tensor; saves one and keeps another on the context."""

    @staticmethod
    def forward(ctx, x, factor, y):
        ctx.save_for_backward(x)
        ctx.factor, ctx.other = factor, y
        return x * factor * y, x + y

    @staticmethod
    def backward(ctx, grad_product, grad_sum):
        (x,) = ctx.saved_tensors
        return grad_product * ctx.factor * ctx.other + grad_sum, None, grad_product * ctx.factor * x


class Undemanding(torch.autograd.Function):
    """Takes None for an undefined gradient, and returns None for some inputs, and one too many."""

    @staticmethod
    def forward(ctx, x, y, z):
        ctx.set_materialize_grads(False)
        return x * 2, y * 3, z.clone()

    @staticmethod
    def backward(_ctx, grad_x, grad_y, grad_z):
        assert grad_z is None
        return (None if grad_x is None else grad_x * 2), grad_y * 3, None, None


def custom_function():
    """Python functions get zeros for undefined gradients; arguments that are no tensors have no edge."""
    x, y, frozen = leaf(3, 4), leaf(3, 4), torch.randn(3, 4)
    product, _sum = Scaled.apply(x * 1, 2.0, y)
    product2, sum2 = Scaled.apply(frozen, 3, y)
    return (product + product2 + sum2).sum(), [x, y]


def custom_function_without_materialized_gradients():
    """A function that declines zeros gets None."""
    x, y, z = leaf(3), leaf(3), leaf(3)
    _double, triple, _same = Undemanding.apply(x, y * 1, z * 1)
    return triple.sum() + x.sum(), [x, y, z]


def frozen_parameters():
    """Frozen parameters and tensors that need no gradient are passed by."""
    first, second, third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight.requires_grad_(False)  # noqa: FBT003 - torch's signature
    for parameter in third.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003
    h = third(second(first(torch.randn(3, 4)).relu()).relu()).detach() + second(first(torch.randn(3, 4)))
    return F.layer_norm(third(h), (4,)).sum() + h.sum(), [*first.parameters(), second.bias]


def attention():
    """`nn.MultiheadAttention` with its weights, dropout, layer norm and an embedding."""
    layer = nn.MultiheadAttention(8, 2, dropout=0.2)
    norm, table = nn.LayerNorm(8), nn.Embedding(5, 8)
    x = table(torch.randint(5, (6, 2)))
    mask = torch.zeros(2, 6, dtype=torch.bool)
    h = norm(x + layer(x, x + 1, value=x, key_padding_mask=mask)[0])
    return F.l1_loss(h, torch.randn_like(h), reduction="none").mean(), [
        *layer.parameters(),
        *norm.parameters(),
        table.weight,
    ]


def checkpointed():
    """Non-reentrant checkpointing runs each block again, once, and lets go of its inputs in turn."""
    blocks = nn.ModuleList(
        nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, 16)) for _ in range(3)
    )
    h = torch.randn(32, 16)
    for block in blocks:
        h = h + checkpoint(block, h, use_reentrant=False)
    return h.pow(2).mean(), list(blocks.parameters())


def checkpointed_in_checkpointed():
    """Checkpointing nests."""
    a, b = nn.Linear(8, 8), nn.Linear(8, 8)

    def inner(x):
        return F.dropout(b(x).sigmoid(), 0.5)

    def outer(x):
        return checkpoint(inner, a(x).tanh(), use_reentrant=False).exp()

    return checkpoint(outer, torch.randn(4, 8), use_reentrant=False).sum(), [*a.parameters(), *b.parameters()]


def hooks_of_leaves():
    """As DistributedDataParallel's: gradients become views of one tensor, a callback ends the pass."""
    a, b = leaf(4, 3), leaf(3)
    bucket = torch.zeros(15)
    views = {a: bucket[:12].view(4, 3), b: bucket[12:]}

    def end():
        for tensor in views:
            tensor.grad.add_(1)
        if len(ended) == 1:  # a callback may queue another
            ended.append(True)
            torch.autograd.Variable._execution_engine.queue_callback(end)

    def arrived(tensor):
        torch.mul(tensor.grad, 0.5, out=views[tensor])
        tensor.grad = views[tensor]
        if not ended:
            ended.append(True)
            torch.autograd.Variable._execution_engine.queue_callback(end)

    ended = []
    for tensor in views:
        tensor.register_post_accumulate_grad_hook(arrived)
    return ((a * b).exp() + b.sin()).sum(), [a, b]


def hooks_of_tensors():
    """Hooks see a gradient before its node runs, in the order of their tensors, and may replace it."""
    a = leaf(6, 6)
    h = a * 2
    first, second, unused = h.sin().chunk(3)
    h.register_hook(lambda gradient: gradient * 2)
    h.register_hook(lambda gradient: gradient + 1)
    h.register_hook(lambda _gradient: None)
    h.register_hook(lambda gradient: gradient * 5).remove()
    second.register_hook(lambda gradient: gradient.cos())
    first.register_hook(lambda gradient: gradient.mul_(3))
    unused.register_hook(lambda gradient: None if gradient is None else gradient * 7)
    return (first.exp() * second).sum(), [a]


def hook_that_queues_a_callback():
    """As `fully_shard`'s hook before backward: what it queues runs when the pass is through."""
    a, b = leaf(4, 4), leaf(4, 4)
    h = (a @ b).relu()

    def end():
        a.grad.mul_(2)

    def begin(_gradient):
        torch.autograd.Variable._execution_engine.queue_callback(end)

    h.register_hook(begin)
    return (h @ a).sum(), [a, b]


PROGRAMS = [
    hooks_of_leaves,
    hooks_of_tensors,
    hook_that_queues_a_callback,
    branches,
    shared_gradient,
    gradient_that_is_a_view,
    gradient_that_is_expanded,
    unused_outputs,
    several_outputs,
    loss_that_is_one_of_several_outputs,
    broadcasting,
    dtype_changes,
    autocast,
    leaf_used_many_times,
    leaf_that_has_a_gradient,
    layouts_that_differ,
    convolutions,
    custom_function,
    custom_function_without_materialized_gradients,
    frozen_parameters,
    attention,
    checkpointed,
    checkpointed_in_checkpointed,
]


def by_engine(program):
    """Return what the engine did and the gradients that it left."""
    return _run(program, lambda loss: loss.backward())


def by_us(program):
    """Return what our pass did and the gradients that it left."""
    with saving_tensors():
        return _run(program, reverse_pass)


def _run(program, backward):
    leaves = []

    def forward_and_backward(mark):
        torch.manual_seed(0)
        loss, of_program = program()
        leaves.extend(of_program)
        mark()
        backward(loss)

    watched = watch(forward_and_backward)
    return watched, [tensor.grad for tensor in leaves]


def assert_same_gradients(expected, actual):
    """Compare values, dtypes and strides; a leaf may have no gradient in both."""
    assert len(expected) == len(actual)
    for one, other in zip(expected, actual, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert (one.dtype, one.stride()) == (other.dtype, other.stride())
            assert torch.equal(one, other)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_our_pass_does_what_the_engine_does(program):
    """Gradients, ops and memory are the engine's."""
    engine, expected = by_engine(program)
    ours, actual = by_us(program)
    assert_same_gradients(expected, actual)
    assert engine.ops == ours.ops
    assert engine.memory == ours.memory


def test_what_an_in_place_op_on_a_view_saved_is_held_at_least_as_long():
    """Such a node hides what it saved inside another, out of reach: gradients and ops still agree."""
    engine, expected = by_engine(views_and_in_place_ops)
    ours, actual = by_us(views_and_in_place_ops)
    assert_same_gradients(expected, actual)
    assert engine.ops == ours.ops
    assert engine.peak_bytes <= ours.peak_bytes


# -- random graphs -----------------------------------------------------------------------------------------

_SIDE = 4
_UNARY = {
    "relu": torch.relu,
    "exp": lambda t: (t * 0.1).exp(),
    "transpose": lambda t: t.t(),
    "view": lambda t: t.reshape(_SIDE * _SIDE).view(_SIDE, _SIDE),
    "sum and expand": lambda t: t.sum(dim=0, keepdim=True).expand(_SIDE, _SIDE),
    "mean": lambda t: t.mean(),
    "index": lambda t: t.expand(_SIDE, _SIDE)[torch.tensor([0, 2, 2, 1])],
    "slice": lambda t: F.pad(t.expand(_SIDE, _SIDE)[1:], (0, 0, 1, 0)),
    "in place": lambda t: (t * 1).add_(1).relu_(),
    "half": lambda t: t.to(torch.bfloat16).float(),
    "checkpoint": lambda t: checkpoint(lambda x: (x * x).sigmoid(), t, use_reentrant=False),
}
_BINARY = {
    "add": torch.add,
    "mul": torch.mul,
    "matmul": lambda a, b: a.expand(_SIDE, _SIDE) @ b.expand(_SIDE, _SIDE) * 0.1,
    "where": lambda a, b: torch.where(a > b, a, b),
    "cat": lambda a, b: torch.cat([a.expand(_SIDE, _SIDE)[:2], b.expand(_SIDE, _SIDE)[2:]]),
}
_SCALAR_SAFE = {"relu", "exp", "mean", "index", "slice", "in place", "half", "checkpoint"}


@st.composite
def graphs(draw):
    """Draw a program as steps: (operation, indices of earlier values)."""
    steps = []
    for number in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from([*_UNARY, *_BINARY]))
        value = st.integers(0, number + 1)  # two leaves come first
        steps.append((name, draw(value), draw(value)))
    return steps, draw(st.lists(st.integers(0, len(steps) + 1), min_size=1, max_size=3))


def random_program(steps, summed):
    values = [leaf(_SIDE, _SIDE), leaf(_SIDE, _SIDE).t().detach().requires_grad_()]
    leaves = list(values)
    for name, first, second in steps:
        if name in _BINARY:
            values.append(_BINARY[name](values[first], values[second]))
        elif values[first].dim() or name in _SCALAR_SAFE:
            values.append(_UNARY[name](values[first]))
        else:
            values.append(values[first] * 2)
    return sum(values[index].sum() for index in summed), leaves


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_our_pass_does_what_the_engine_does_on_random_graphs(graph):
    """Whatever the graph: the same gradients, ops and memory."""
    program = partial(random_program, *graph)
    engine, expected = by_engine(program)
    ours, actual = by_us(program)
    assert_same_gradients(expected, actual)
    assert engine.ops == ours.ops
    assert engine.memory == ours.memory


# -- what the pass tells its caller ------------------------------------------------------------------------


def test_a_loss_without_a_graph_is_refused():
    """The message says what is missing."""
    with pytest.raises(RuntimeError, match="no graph"):
        reverse_pass(torch.ones(()))


def test_a_second_pass_over_the_same_graph_is_refused():
    """Saved tensors are gone after the first pass, as with the engine."""
    with saving_tensors():
        a = leaf(3)
        loss = (a * a).sum()
    reverse_pass(loss)
    with pytest.raises(RuntimeError, match="after its node had run"):
        reverse_pass(loss)


def test_a_graph_that_is_dropped_without_a_pass_lets_go_of_everything():
    """No cycle keeps a saved output alive."""
    with saving_tensors():
        h = (leaf(3, 3) @ leaf(3, 3)).exp()
        storage = weakref.ref(h.untyped_storage())
        del h
    assert storage() is None


def test_callbacks_hear_of_saved_tensors_nodes_and_new_gradients():
    """Leaves come as None; a gradient that was there already is no new one."""
    saved, nodes, gradients = [], [], []
    with saving_tensors(saved.append):
        a, b = leaf(3), leaf(3)
        b.grad = torch.zeros(3)
        product = a * b
        loss = product.sum()
    reverse_pass(loss, on_node=nodes.append, on_gradient=gradients.append)
    assert {a.data_ptr(), b.data_ptr()} == {tensor.data_ptr() for tensor in saved}
    assert [loss.grad_fn._sequence_nr(), product.grad_fn._sequence_nr(), None, None] == nodes
    assert [a.grad.data_ptr()] == [gradient.data_ptr() for gradient in gradients]


# -- lerobot's ACT -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_our_pass_does_what_the_engine_does_on_act(small_cell, precision):
    """A whole training step of the real policy on the CPU: gradients, ops and memory are the engine's."""
    cell = replace(small_cell, precision=precision)
    engine, expected = step_of_act(cell, lambda loss: loss.backward())
    with saving_tensors():
        ours, actual = step_of_act(cell, reverse_pass)
    assert_same_gradients(expected, actual)
    assert engine.ops == ours.ops
    assert engine.memory == ours.memory


def step_of_act(cell, backward):
    """Take two training steps, watch the second, and return the gradients of it."""
    from actprof.policies.accelerator import StepAccelerator
    from actprof.policies.workload import build_workload

    marks, gradients = [], []

    def marked_backward(loss):
        for mark in marks:
            mark()
        backward(loss)
        gradients[:] = [None if p.grad is None else p.grad.clone() for p in workload.policy.parameters()]

    torch.manual_seed(0)
    accelerator = StepAccelerator(device_type="cpu", backward=marked_backward)
    workload = build_workload(cell, torch.device("cpu"), accelerator=accelerator)
    workload.step()

    def step(mark):
        marks.append(mark)
        workload.step()

    return watch(step), gradients


def test_watching_a_step_changes_nothing(small_cell, monkeypatch):
    """Under the recorder, with our pass, ACT's step asks the CPU for the same memory as lerobot's own."""
    from actprof.trace.fake import fake_cuda
    from actprof.trace.recorder import Recorder

    plain, expected = step_of_act(small_cell, lambda loss: loss.backward())
    with fake_cuda():
        linear = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    with saving_tensors(), Recorder("cpu"):
        watched, actual = step_of_act(small_cell, reverse_pass)
    assert_same_gradients(expected, actual)
    assert plain.memory == watched.memory


def test_a_hook_cannot_make_a_gradient_of_none():
    """The engine refuses it too."""
    for backward in (reverse_pass, torch.Tensor.backward):
        with saving_tensors() if backward is reverse_pass else nullcontext():
            used, unused = leaf(4).chunk(2)
            unused.register_hook(lambda _gradient: torch.ones(2))
            loss = used.sum()
        with pytest.raises(RuntimeError, match="can't replace a None gradient"):
            backward(loss)
