"""Writes down every storage that a program allocates and frees on one device, op by op.

A dispatch mode sees each ATen op after autograd; a storage that it has not seen before is an
allocation, and a weak reference to it reports the free at the moment at which it happens.
Works on fake and on real tensors, on any device type. What happens inside a kernel is not seen:
`actprof.trace.rules` says what it takes and gives back, and in which order.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self
from unittest import mock

import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass_type

from actprof.kernels.problem import Problem
from actprof.trace.fake_streams import current_stream_number
from actprof.trace.model import KINDS, PHASES
from actprof.trace.origins import Origins, Site
from actprof.trace.rules.describe import Described, describe
from actprof.trace.rules.masks import as_without_modes
from actprof.trace.rules.steps import Give, Output, Step
from actprof.trace.rules.temporaries import is_known, steps_inside
from actprof.trace.rules.work import blas_route, bytes_moved, flops_of, tensors_in
from actprof.trace.upper_bounds import UPPER_BOUNDS, run_op

_SETUP, _DATA, _FORWARD, _BACKWARD, _OPTIMIZER = range(len(PHASES))
_PARAMETERS, _BUFFERS, _INPUTS, _ACTIVATIONS, _GRADIENTS, _STATE, _TEMPORARIES, *_ = range(len(KINDS))
_KIND_OF_PHASE = (_BUFFERS, _INPUTS, _TEMPORARIES, _TEMPORARIES, _TEMPORARIES)
_PHASE_INDEX = {name: index for index, name in enumerate(PHASES)} | {"update": _OPTIMIZER, "more data": _DATA}
_RESIZE = "storage.resize_"
_resize_storage = torch.UntypedStorage.resize_
# `.item()` has no value to give on a fake tensor; these let the usual control flow go its usual way.
_ITEM_HINTS: dict[bool, Any] = {True: 1.0, False: 1}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records allocations, frees and ops on `device_type`; the columns are public lists.

    Attributes:
        events: `t + 1` for the allocation of tensor t, `-(t + 1)` for its free.
        sizes, kinds, tensor_ops: per tensor: requested bytes, index into KINDS, row of its op.
        streams: per tensor, the number of the CUDA stream that asked for it.
        problems: of some tensors, the problem that decides their bytes, and which part of it they are.
        shapes, dtypes: per tensor, of the output that brought it; None for a kernel's temporary.
        freed_by: per tensor, row of the last op launched when it was freed; -1 while it lives.
        owners: of some tensors, the parameter or buffer that they are or belong to.
        op_names, op_modules, op_phases, op_blas, op_syncs, op_flops, op_bytes: per op.
        op_calls: per op, what it was called with; see `actprof.trace.calls`.
        op_sites: per op, the lines that made it; empty ones without `sources`.
        step_starts, update_starts: event index at which each step, each `update_policy`, begins.
        phase_starts: (event index, index into PHASES) wherever the phase changes.
        notes: what could not be known and was assumed.
        origins: whose the ops are; told which module is watched and which autograd node runs.
    """

    def __init__(self, device_type: str, *, sources: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device_type = device_type
        self.events: list[int] = []
        self.sizes: list[int] = []
        self.kinds: list[int] = []
        self.tensor_ops: list[int] = []
        self.streams: list[int] = []
        self.shapes: list[tuple[int, ...] | None] = []
        self.dtypes: list[torch.dtype | None] = []
        self.freed_by: list[int] = []
        self.owners: dict[int, str] = {}
        self.problems: dict[int, tuple[Problem, int]] = {}
        self.op_names: list[str] = []
        self.op_modules: list[str] = []
        self.op_phases: list[int] = []
        self.op_blas: list[int] = []
        self.op_syncs: list[bool] = []
        self.op_calls: list[Described] = []
        self.op_flops: list[int] = []
        self.op_bytes: list[int] = []
        self.op_sites: list[Site] = []
        self.step_starts: list[int] = []
        self.update_starts: list[int] = []
        self.phase_starts: list[tuple[int, int]] = [(0, _SETUP)]
        self.notes: dict[str, None] = {}
        self._alive: dict[int, tuple[int, weakref.ref[Any]]] = {}  # storage -> its tensor, told of its end
        self._phase = _SETUP
        self.origins = Origins(sources=sources)

    # -- what the workload tells us ------------------------------------------------------------------

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside belongs to phase `name`; `data` starts a step, the first `update` its update."""
        if name == "data":
            self.step_starts.append(len(self.events))
            self.origins.begin_step()
        elif name == "update" and len(self.update_starts) < len(self.step_starts):
            self.update_starts.append(len(self.events))
        before = self._phase
        self._change_phase(_PHASE_INDEX[name])
        try:
            yield
        finally:
            self._change_phase(before)

    def _change_phase(self, phase: int) -> None:
        self._phase = phase
        if self.phase_starts[-1][0] == len(self.events):
            self.phase_starts.pop()
        self.phase_starts.append((len(self.events), phase))

    def __enter__(self) -> Self:
        """Record from here on, storages that are resized included: no op does that."""

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            return self._resize(storage, size)

        self._resizing = mock.patch.object(torch.UntypedStorage, "resize_", resize)
        self._resizing.start()
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: object) -> None:
        """Leave the mode."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._resizing.stop()

    def stop(self) -> None:
        """Forget what is alive, so that what dies after the recording is not written down."""
        self._alive.clear()

    def mark(self, tensor: torch.Tensor, kind: str, *, owner: str = "") -> None:
        """Say what a live tensor is, by `KINDS`; an activation does not overrule what was said before.

        The owner is the path of the parameter or buffer that it is or belongs to.
        """
        tensor = getattr(tensor, "_local_tensor", tensor)  # where it is a shard
        number, _ref = self._alive.get(tensor.untyped_storage()._cdata, (-1, None))
        if number < 0:
            return
        if owner:
            self.owners[number] = owner
        index = KINDS.index(kind)
        if index != _ACTIVATIONS or self.kinds[number] == _TEMPORARIES:
            self.kinds[number] = index

    # -- what the dispatcher tells us ----------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one op and write down what it allocated."""
        if any(map(is_traceable_wrapper_subclass_type, types)):
            return NotImplemented  # a DTensor runs the op on tensors of its own, which come here again
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # no op, and asked for more often than all ops together
        self.origins.begin_op()
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._item(func, args)
        if self._phase == _BACKWARD:
            func, args = as_without_modes(func, args)
        row = len(self.op_names)
        before = len(self.sizes)
        out = run_op(func, args, kwargs, self.notes)
        steps = steps_inside(func, args, kwargs, out) if self.device_type == "cuda" else None
        if steps is None or not self._is_ours(args):
            for tensor in tensors_in(out):
                self._track(tensor, row)
        else:
            self._follow(steps, out, row)
        # An op that neither allocates nor writes is a view: nothing is launched.
        writes = func._schema.is_mutable or func.namespace in _SILENT_WRITERS
        if len(self.sizes) > before or (writes and self._is_ours(args)):
            self._add_op(func, args, kwargs, out)
            if not is_known(func):
                self.notes[f"nobody has looked at what {func} takes inside on a GPU"] = None
        return out

    def _follow(self, steps: list[Step], out: Any, row: int) -> None:
        """Write down what an op allocates and frees inside, among its outputs."""
        outputs = list(tensors_in(out))
        taken: list[int] = []
        given: set[int] = set()
        for step in steps:
            if isinstance(step, Output):
                self._track(outputs[step.index], row)
            elif isinstance(step, Give):
                self._free(taken[step.index], row)
                given.add(taken[step.index])
            else:
                taken.append(self._allocate(step.size, row))
                if step.problem is not None:
                    self.problems[taken[-1]] = step.problem, step.part
        for tensor in reversed(taken):
            if tensor not in given:
                self._free(tensor, row)

    def _is_ours(self, args: Any) -> bool:
        """Return whether any of the tensors is on our device."""
        return any(tensor.device.type == self.device_type for tensor in tensors_in(args))

    def _track(self, tensor: torch.Tensor, row: int) -> None:
        if tensor.device.type != self.device_type:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size = storage.nbytes()
        if size == 0:
            return
        self._watch(storage, len(self.sizes))
        self._allocate(size, row, tensor)

    def _watch(self, storage: torch.UntypedStorage, number: int) -> None:
        """Be told of the end of a storage that holds that tensor; of one that is empty by now, `~tensor`."""
        key = storage._cdata
        self._alive[key] = number, weakref.ref(storage, partial(self._freed, key, number))

    def _resize(self, storage: torch.UntypedStorage, size: int) -> Any:
        """Write down what becomes of a storage: one that is emptied lives on, and may grow again."""
        number, _ref = self._alive.get(storage._cdata, (None, None))
        before = storage.nbytes()
        out = _resize_storage(storage, size)
        if number is None or size == before:
            return out
        last = number if number >= 0 else ~number
        if size:
            row = self._add_row(_RESIZE, (("i", ">"), (size,)))
            new = self._allocate(size, row)
            self.dtypes[new], self.kinds[new] = self.dtypes[last], self.kinds[last]
            if last in self.owners:
                self.owners[new] = self.owners[last]
        if before:
            self._free(number, len(self.op_names) - 1)
        self._watch(storage, new if size else ~last)
        return out

    def _allocate(self, size: int, row: int, output: torch.Tensor | None = None) -> int:
        tensor = len(self.sizes)
        self.sizes.append(size)
        self.streams.append(current_stream_number())
        self.shapes.append(None if output is None else tuple(output.shape))
        self.dtypes.append(None if output is None else output.dtype)
        self.freed_by.append(-1)
        self.kinds.append(_KIND_OF_PHASE[self._phase])
        self.tensor_ops.append(row)
        self.events.append(tensor + 1)
        return tensor

    def _freed(self, key: int, tensor: int, _ref: weakref.ref[Any]) -> None:
        if tensor >= 0:
            self._free(tensor, len(self.op_names) - 1)
        if self._alive.get(key, (None,))[0] == tensor:
            del self._alive[key]

    def _free(self, tensor: int, row: int) -> None:
        self.events.append(-(tensor + 1))
        self.freed_by[tensor] = row

    def _add_op(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        row = self._add_row(str(func), describe(func, args, out))
        self.op_blas[row] = blas_route(func, args)
        self.op_syncs[row] = func in _WAITING
        self.op_flops[row] = flops_of(func, args, kwargs, out)
        self.op_bytes[row] = bytes_moved(func, args, kwargs, out)

    def _add_row(self, name: str, described: Described) -> int:
        """Add an op that computes nothing and moves nothing, and return its row."""
        self.op_names.append(name)
        self.op_modules.append(self.origins.module())
        self.op_phases.append(self._phase)
        self.op_calls.append(described)
        self.op_sites.append(self.origins.site())
        for column in (self.op_blas, self.op_flops, self.op_bytes):
            column.append(0)
        self.op_syncs.append(False)
        return len(self.op_names) - 1

    def _item(self, func: Any, args: tuple[Any, ...]) -> Any:
        if self._is_ours(args):
            self._add_op(func, args, {}, None)
        tensor = args[0]
        if not isinstance(tensor, FakeTensor):
            return func(*args)
        return True if tensor.dtype == torch.bool else _ITEM_HINTS[tensor.is_floating_point()]


# Their schemas do not say that they write.
_SILENT_WRITERS = {"c10d", "fsdp"}
# The host waits for what these find out.
_WAITING = {torch.ops.aten._local_scalar_dense.default, *UPPER_BOUNDS}
