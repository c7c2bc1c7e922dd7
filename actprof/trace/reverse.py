"""The reverse pass, walked in Python: what `torch.autograd.backward` does, without needing the device.

The C++ engine asks the CUDA driver for the device of every stream; fake tensors have none. So the graph
is walked here, node by node, in the engine's order and with its rules for accumulation and for giving up
memory (torch/csrc/autograd/engine.cpp, input_buffer.cpp, functions/accumulate_grad.h). Calling a node
runs its real C++ formula. On real tensors the gradients equal the engine's bit for bit.

Order of one node: hooks of its tensors, run, validate all outputs against the next nodes' metadata, let go
of the inputs, let go of the saved tensors, then accumulate into the next nodes' buffers. A leaf's hooks run
once its gradient is there; what hooks hand to the engine's `queue_callback` runs when the pass is through.
"""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from actprof.trace.ready_queue import ReadyQueue
from actprof.trace.saved_tensors import release_saved
from actprof.trace.tensor_hooks import run_hooks

_ACCUMULATE_PRIORITY = 2**64 - 1  # AccumulateGrad's sequence number: UINT64_MAX
_pass_ids = itertools.count(1)
Buffer = list[Tensor | None]


def reverse_pass(
    loss: Tensor,
    *,
    on_node: Callable[[int | None], None] | None = None,
    on_gradient: Callable[[Tensor], None] | None = None,
) -> None:
    """Accumulate the gradients of scalar `loss` into the `.grad` of its leaves, as `loss.backward()` does.

    Args:
        loss: a scalar with a graph behind it, recorded inside `saving_tensors`.
        on_node: called before a node runs, with its sequence number (None for a leaf).
        on_gradient: called with each gradient that becomes a leaf's `.grad`.
    """
    root = loss.grad_fn
    if root is None:
        raise RuntimeError("the loss has no graph: nothing that it depends on requires a gradient")
    pass_id = next(_pass_ids)
    # Non-reentrant checkpointing recomputes once per pass, and tells passes apart by this number.
    walk = _Walk(root, on_node or (lambda _number: None), on_gradient or (lambda _tensor: None))
    engine = mock.patch.object(torch.autograd.Variable, "_execution_engine", walk)
    with torch.no_grad(), engine, mock.patch.object(torch._C, "_current_graph_task_id", lambda: pass_id):
        # Our name for it lives until the end, as the engine's caller has one: nobody may steal it.
        seed = torch.ones_like(loss, memory_format=torch.preserve_format)
        walk.buffers[root] = [seed if slot == loss.output_nr else None for slot in range(_input_count(root))]
        walk.run(root)


class _Walk:
    """State of one reverse pass: what each node still waits for, and what it has received."""

    def __init__(
        self, root: Any, on_node: Callable[[int | None], None], on_gradient: Callable[[Tensor], None]
    ) -> None:
        self.waiting = _count_dependencies(root)
        self.buffers: dict[Any, Buffer] = {}
        self.ready: ReadyQueue[Any] = ReadyQueue()
        self._on_node = on_node
        self._on_gradient = on_gradient
        self._callbacks: list[Callable[[], None]] = []

    def queue_callback(self, callback: Callable[[], None]) -> None:
        """Stand where hooks find the engine: have `callback` called when the pass is through."""
        self._callbacks.append(callback)

    def run(self, root: Any) -> None:
        self.ready.push(_priority(root), root)
        while self.ready:
            node = self.ready.pop()
            if _is_leaf(node):
                self._on_node(None)
                self._accumulate_leaf(node)
            else:
                self._on_node(node._sequence_nr())
                self._run_node(node)
        for callback in self._callbacks:  # which may queue others
            callback()

    def _run_node(self, node: Any) -> None:
        inputs = self.buffers.pop(node)
        run_hooks(node, inputs)
        outputs = _call(node, inputs)
        _validate(node, outputs)
        inputs.clear()
        release_saved(node)
        for index, (following, slot) in enumerate(node.next_functions):
            if following is not None:
                self._deliver(following, slot, outputs, index)

    def _deliver(self, node: Any, slot: int, outputs: Buffer, index: int) -> None:
        buffer = self.buffers.get(node)
        if buffer is None:
            buffer = self.buffers[node] = [None] * _input_count(node)
        _accumulate(buffer, slot, outputs, index)
        self.waiting[node] -= 1
        if self.waiting[node] == 0:
            self.ready.push(_priority(node), node)

    def _accumulate_leaf(self, node: Any) -> None:
        """Mirror `AccumulateGrad::accumulateGrad`: steal, clone, or add in place."""
        (gradient,) = self.buffers.pop(node)
        leaf = node.variable
        if gradient is None or not leaf.requires_grad:
            return
        if leaf.grad is not None:
            leaf.grad += gradient
        else:
            if _has_one_holder(gradient) and _obeys_layout(gradient, leaf):
                leaf.grad = gradient.detach()
            else:
                leaf.grad = _clone_with_layout(gradient, leaf)
            self._on_gradient(leaf.grad)
        for hook in (leaf._post_accumulate_grad_hooks or {}).values():
            hook(leaf)


def _is_leaf(node: Any) -> bool:
    return hasattr(node, "variable")


def _priority(node: Any) -> int:
    return _ACCUMULATE_PRIORITY if _is_leaf(node) else int(node._sequence_nr())


def _input_count(node: Any) -> int:
    return 1 if _is_leaf(node) else len(node._input_metadata)


def _count_dependencies(root: Any) -> dict[Any, int]:
    """Return how many edges lead to each node that `root` reaches (`Engine::compute_dependencies`)."""
    counts: dict[Any, int] = defaultdict(int)
    seen, stack = {root}, [root]
    while stack:
        for following, _slot in stack.pop().next_functions:
            if following is None:
                continue
            counts[following] += 1
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return counts


def _call(node: Any, inputs: Buffer) -> Buffer:
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        return _call_python_function(node, inputs)
    result = node(*inputs)
    return list(result) if isinstance(result, tuple) else [result]


def _call_python_function(node: Any, inputs: Buffer) -> Buffer:
    """Run a `torch.autograd.Function`, whose undefined inputs become zeros unless it declines them.

    It returns a gradient per argument of its forward, while only tensors among them have an edge.
    """
    if getattr(node, "readable_materialize_grads", True):
        inputs = [
            torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device) if grad is None else grad
            for grad, meta in zip(inputs, node._input_metadata, strict=True)
        ]
    result = node.apply(*inputs)
    results = iter(result if isinstance(result, tuple) else (result,))
    wanted = (grad for grad, needed in zip(results, node.needs_input_grad, strict=False) if needed)
    return [None if following is None else next(wanted) for following, _slot in node.next_functions]


def _validate(node: Any, outputs: Buffer) -> None:
    """Bring every output to the shape and dtype that the next node recorded (`validate_outputs`)."""
    for index, (following, slot) in enumerate(node.next_functions):
        gradient = outputs[index]
        if following is None or gradient is None:
            continue
        meta = following.variable if _is_leaf(following) else following._input_metadata[slot]
        if tuple(gradient.shape) != tuple(meta.shape):
            gradient = gradient.sum_to_size(meta.shape)
        if gradient.dtype != meta.dtype:
            gradient = gradient.to(meta.dtype)
        outputs[index] = gradient


def _accumulate(buffer: Buffer, slot: int, outputs: Buffer, index: int) -> None:
    """Move `outputs[index]` into `buffer[slot]`, or add it to what is there (`InputBuffer::accumulate`).

    What is added stays among the outputs, and lives until all of them are delivered.
    """
    new = outputs[index]
    if new is None:
        return
    old, buffer[slot] = buffer[slot], None
    if old is None:
        buffer[slot], outputs[index] = new, None
    elif _has_one_holder(old) and _owns_dense_storage(old):
        buffer[slot] = old.add_(new)
    else:
        buffer[slot] = old + new


def _references(value: object) -> int:
    return sys.getrefcount(value)


def _references_of_one_holder() -> int:
    """Return what `_references` says of a value that only one local name of its caller holds."""
    value = object()
    return _references(value)


_ONE_HOLDER = _references_of_one_holder()


def _has_one_holder(tensor: Tensor) -> bool:
    """Return whether only one local name of the caller refers to `tensor`, in Python and in C++."""
    # The caller's name and ours: one more than the lone value had.
    alone = _references(tensor) == _ONE_HOLDER + 1
    return alone and tensor._use_count() == 1  # type: ignore[attr-defined]


def _owns_dense_storage(tensor: Tensor) -> bool:
    storage = tensor.untyped_storage()
    holders = torch._C._storage_Use_Count(storage._cdata)
    # One is the tensor, one is the Python object that asks.
    return holders <= 2 and _is_non_overlapping_and_dense(tensor)


def _is_non_overlapping_and_dense(tensor: Tensor) -> bool:
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _obeys_layout(gradient: Tensor, leaf: Tensor) -> bool:
    """Mirror `utils::obeys_layout_contract`: strides like the leaf's if that is dense, else row-major."""
    if not _is_non_overlapping_and_dense(leaf):
        return gradient.is_contiguous()
    return all(
        size == 1 or ours == theirs
        for size, ours, theirs in zip(leaf.shape, gradient.stride(), leaf.stride(), strict=True)
    )


def _clone_with_layout(gradient: Tensor, leaf: Tensor) -> Tensor:
    if not _is_non_overlapping_and_dense(leaf):
        return gradient.clone(memory_format=torch.contiguous_format)
    return gradient.new_empty_strided(leaf.shape, leaf.stride()).copy_(gradient)
