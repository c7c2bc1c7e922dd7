"""A policy as `DistributedDataParallel` wraps it: what that allocates and launches on each GPU of a run.

DDP itself asks the driver for timers and its reducer lives in C++, so it cannot be had without a GPU. Here it
is with the same tensors in the same order, on real and on fake ones (torch/nn/parallel/distributed.py and
torch/csrc/distributed/c10d/reducer.cpp of torch 2.11, whose names are used): what goes over the network is
left out, as NCCL's own memory is none of PyTorch's allocator. How many GPUs there are changes nothing of it.

The buckets are all trained parameters once more. With `find_unused_parameters` they are assigned at set-up;
without it one bucket holds all of them until the second forward, when they are made anew in the order in
which the gradients arrived.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.utils import _pytree as pytree

from actprof.cell import Cell
from actprof.errors import TraceError

_BROADCAST_BYTES = 250 * 2**20
_FIRST_BUCKET_BYTES, _BUCKET_BYTES = 2**20, 25 * 2**20
_UNUSED = (
    "DistributedDataParallel stops in the second step: {} has no gradient, and nobody looks for such "
    "parameters; leave out --no-find-unused-parameters (--accelerator.ddp.find_unused_parameters=false)"
)


class DataParallel:
    """The wrapped policy: takes the place of its `forward`, and of what happens to its gradients.

    Args:
        policy: on the device; its `forward` is replaced, so that it stays the module that it is.
        syncs: whether gradients are averaged in the next backward pass; not while batches are accumulated.

    Attributes:
        buckets: flat tensors of gradients, one each.
    """

    def __init__(self, cell: Cell, policy: torch.nn.Module, syncs: Callable[[], bool]) -> None:
        self._find_unused = cell.find_unused_parameters
        self._bucket_views = cell.gradient_as_bucket_view
        self._part = 1 / cell.world_size
        self._syncs = syncs
        self._forward = policy.forward
        named = [(name, p) for name, p in policy.named_parameters() if p.requires_grad]
        self._names, self._trained = [name for name, _ in named], [p for _, p in named]
        self._buffers = list(policy.buffers())
        self.buckets: list[Tensor] = []
        self._views: dict[Tensor, Tensor] = {}
        self._arrived: list[int] = []
        self._is_rebuilt = self._find_unused
        self._expects_gradients = self._finalizes = False
        self._syncs_buffers = True
        self._verify_shapes()
        _broadcast([*policy.parameters(), *self._buffers])
        limits = [_FIRST_BUCKET_BYTES, _BUCKET_BYTES] if self._find_unused else [sys.maxsize]
        assigned = _assignment(self._trained, limits)
        self._make_buckets(assigned[::-1])
        # which parameters were used, on this GPU
        count = len(self._trained)
        self._used = self._int32(count) if self._find_unused else None
        for number, parameter in enumerate(self._trained):
            parameter.register_post_accumulate_grad_hook(self._hook(number))  # type: ignore[no-untyped-call]
        policy.forward = self.forward

    # -- set-up ------------------------------------------------------------------------------------------

    def _verify_shapes(self) -> None:
        """Compare shapes with the other processes, as `verify_params_across_processes` does."""
        like = self._trained[0]
        count = torch.tensor([len(self._trained)]).to(like.device)
        _others = torch.empty_like(count)
        torch.empty_like(count)  # which the process group gathers into, and lets go of
        sides = sum(p.dim() for p in self._trained)
        torch.empty(2 * sides, dtype=torch.int64).to(like.device)  # sizes and strides

    def _int32(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int32, device=self._trained[0].device)

    def _make_buckets(self, assigned: Sequence[Sequence[int]]) -> None:
        """Replace the buckets by those that hold the trained parameters of these numbers."""
        self._views.clear()
        self.buckets.clear()
        for numbers in assigned:
            parameters = [self._trained[number] for number in numbers]
            bucket = parameters[0].new_empty(sum(p.numel() for p in parameters))
            self.buckets.append(bucket)
            for parameter, part in zip(
                parameters, torch.split(bucket, [p.numel() for p in parameters]), strict=True
            ):
                self._views[parameter] = _shaped_as(part, parameter)

    # -- forward -----------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the policy returns; with `find_unused_parameters` its tensors are copied."""
        syncs = torch.is_grad_enabled() and self._syncs()
        if torch.is_grad_enabled() and self._arrived:
            self._rebuild_buckets()
        if self._syncs_buffers:
            _broadcast(self._buffers)
        self._syncs_buffers = syncs
        out = self._forward(*args, **kwargs)
        self._expects_gradients = syncs
        if not self._find_unused:
            return out
        flat, structure = pytree.tree_flatten(out)
        sunk = _Sink.apply(*flat)  # type: ignore[no-untyped-call]
        kept = [
            one if isinstance(one, Tensor) and one.grad_fn is None else other
            for one, other in zip(flat, sunk, strict=True)
        ]
        return pytree.tree_unflatten(kept, structure)

    def _rebuild_buckets(self) -> None:
        if missing := set(range(len(self._trained))) - set(self._arrived):
            raise TraceError(_UNUSED.format(self._names[min(missing)]))
        in_order = [self._trained[number] for number in self._arrived]
        assigned = _assignment(in_order, [_FIRST_BUCKET_BYTES, _BUCKET_BYTES], self._arrived)
        order, sizes = self._int32(len(self._trained) + 1), self._int32(len(assigned))
        del sizes, order  # the other processes have them
        self._make_buckets(assigned)
        self._arrived.clear()
        self._is_rebuilt = True

    # -- backward ----------------------------------------------------------------------------------------

    def _hook(self, number: int) -> Callable[[Tensor], None]:
        def arrive(parameter: Tensor) -> None:
            if self._expects_gradients:
                self._arrive(number, parameter)

        return arrive

    def _arrive(self, number: int, parameter: Tensor) -> None:
        """Put a gradient into its bucket (`mark_variable_ready_dense`)."""
        gradient, view = parameter.grad, self._views[parameter]
        if gradient is None:
            return
        if not self._is_rebuilt:
            self._arrived.append(number)
        if not self._finalizes:
            self._finalizes = True
            torch.autograd.Variable._execution_engine.queue_callback(self._finalize)
        if gradient.untyped_storage()._cdata == view.untyped_storage()._cdata:
            view.div_(1 / self._part)
            return
        torch.mul(gradient, self._part, out=view)
        if self._bucket_views:
            parameter.grad = view

    def _finalize(self) -> None:
        """Copy what was averaged back to the gradients (`finalize_backward`)."""
        self._expects_gradients = self._finalizes = False
        for parameter, view in self._views.items():
            if parameter.grad is not None and not self._bucket_views:
                parameter.grad.copy_(view)


class _Sink(torch.autograd.Function):
    """Copies what a policy returns, as `_DDPSink` does."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        ctx.set_materialize_grads(False)
        return tuple(one.clone() if isinstance(one, Tensor) else one for one in inputs)

    @staticmethod
    def backward(_ctx: Any, *gradients: Any) -> Any:
        return gradients


def _assignment(
    tensors: Sequence[Tensor], limits: Sequence[int], numbers: Sequence[int] = ()
) -> list[list[int]]:
    """Return which tensors share a bucket, by torch's own rule; `numbers` stand for them if given."""
    # not in torch's stubs
    assign: Any = torch.distributed._compute_bucket_assignment_by_size  # type: ignore[attr-defined]
    dense = [False] * len(tensors)
    assigned: list[list[int]] = assign(list(tensors), list(limits), dense, list(numbers))[0]
    return assigned


def _broadcast(tensors: Sequence[Tensor]) -> None:
    """Send tensors to the other processes in flat copies, two at a time at most (`broadcast_coalesced`)."""
    tensors = [tensor.detach() for tensor in tensors]
    under_way: list[tuple[Tensor, list[Tensor]]] = []
    for numbers in _assignment(tensors, [_BROADCAST_BYTES]) if tensors else []:
        if len(under_way) == 2:
            _arrive_at(*under_way.pop(0))
        group = [tensors[number] for number in numbers]
        lines = [tensor.contiguous().view(-1) for tensor in group]
        under_way.append((lines[0] if len(lines) == 1 else torch.cat(lines), group))
    while under_way:
        _arrive_at(*under_way.pop(0))


def _arrive_at(flat: Tensor, group: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in group])
    for tensor, part in zip(group, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def _shaped_as(part: Tensor, parameter: Tensor) -> Tensor:
    """Return the stretch of a bucket with a parameter's strides, as far as those are dense."""
    if parameter.is_contiguous():
        return part.view(parameter.shape)
    return part.as_strided(parameter.shape, parameter.stride())
