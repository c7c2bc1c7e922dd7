"""The `Trace`: what a few training steps allocate and free, in order, as a function of the batch size.

A plain record of NumPy columns; needs no torch to load. It knows nothing of GPU capacity, allocator
settings or batch size: every size is `constant + per_sample * batch_size`, in bytes.

Reading the columns:

- `events[i] = t + 1` allocates tensor `t`, `-(t + 1)` frees it; `tensors.op[t]` is the op that asked for it.
  A tensor with a problem has the bytes that the problem takes on the GPU at hand; with none, it is left out.
- A step's events begin at `step_starts[s]`; `update_policy` begins at `update_starts[s]`. What lies before
  the first step is set-up (parameters, statistics).
- The last step can be repeated: what it leaves behind takes the place of what the step before left behind
  (`carried`, pairs of tensors), so that a replay can go on for as many steps as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actprof.kernels.problem import GrowingProblem
from actprof.policies.facts import PolicyFacts
from actprof.trace.calls import UNKNOWN_CALL, GrowingCall

SCHEMA_VERSION = 4

Ints = NDArray[np.int64]
# One dimension, `constant + per_sample * batch_size`, as (constant, per_sample).
Dimension = tuple[int, int]
Shape = tuple[Dimension, ...]

PHASES = ("setup", "data", "forward", "backward", "optimizer")
KINDS = (
    "parameters", "buffers", "inputs", "activations", "gradients", "optimizer state", "temporaries",
    "moving average", "gradient buckets", "gathered parameters",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTable:
    """One row per launched op, in order; views and metadata changes launch nothing and have no row.

    Attributes:
        names: ATen overload (`aten.mm.default`), per row.
        modules: path of the innermost module whose forward made the op or its autograd node, per row.
        phase: index into `PHASES`.
        blas: 0 no matrix product, 1 through cuBLAS, 2 through cuBLASLt (fused bias).
        sync: True where the host waits for the device (`.item()`).
        flops_constant, flops_per_sample: floating-point operations as `torch.utils.flop_counter` counts.
        bytes_constant, bytes_per_sample: inputs read once plus outputs written once; of a collective of
            several GPUs (`c10d.…`) what all of them have of it together.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...]
    phase: Ints
    blas: Ints
    sync: NDArray[np.bool_]
    flops_constant: Ints
    flops_per_sample: Ints
    bytes_constant: Ints
    bytes_per_sample: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorTable:
    """One row per allocation, in order.

    Attributes:
        constant, per_sample: requested bytes are `constant + per_sample * batch_size`.
        kind: index into `KINDS`.
        op: row of the op that asked for it.
        problem: index into the trace's problems; -1 where the bytes are known without a GPU.
        part: which of the problem's allocations it is.
        stream: the CUDA stream that asked for it, in order of first use; 0 is the default stream.
    """

    constant: Ints
    per_sample: Ints
    kind: Ints
    op: Ints
    problem: Ints
    part: Ints
    stream: Ints

    def requested_bytes(self, batch_size: int) -> Ints:
        """Return the requested bytes of every allocation, shape (tensors,); 0 where a problem decides."""
        return self.constant + self.per_sample * batch_size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceDetails:
    """What a trace knows beyond bytes: columns beside `OpTable` (op_…) and `TensorTable`, of equal lengths.

    A replay needs none of it, so it is read from a cached trace only when `Trace.details` asks.

    Attributes:
        op_lines: innermost line of lerobot, torch.nn, torch.optim, torchvision or another library that
            made the op, as `torch/nn/functional.py:6527 multi_head_attention_forward`; empty when unknown.
            An op of the reverse pass has the line whose forward made its autograd node.
        op_callers: innermost line of lerobot, in the same form; equal to the first where lerobot made it.
        shapes: of the first output that brought the storage into being; None for a kernel's temporary.
        dtypes: of that output, as `float32`; empty when unknown.
        owners: path of the parameter or buffer that the tensor is, or belongs to (gradient, optimizer
            state); empty for every other tensor.
        freed_by: row of the last op that was launched when it was freed; -1 when the trace does not free it.
        calls: distinct calls, as functions of the batch size.
        op_calls: index into `calls` of each op's.
    """

    op_lines: tuple[str, ...]
    op_callers: tuple[str, ...]
    shapes: tuple[Shape | None, ...]
    dtypes: tuple[str, ...]
    owners: tuple[str, ...]
    freed_by: Ints
    calls: tuple[GrowingCall, ...]
    op_calls: Ints

    @classmethod
    def unknown(cls, *, ops: int, tensors: int) -> Self:
        """Return the details of a trace of which none are known."""
        return cls(
            op_lines=("",) * ops,
            op_callers=("",) * ops,
            shapes=(None,) * tensors,
            dtypes=("",) * tensors,
            owners=("",) * tensors,
            freed_by=np.full(tensors, -1, dtype=np.int64),
            calls=(UNKNOWN_CALL,),
            op_calls=np.zeros(ops, dtype=np.int64),
        )

    def itself(self) -> Self:
        """Return these details: where something that reads them is asked for."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """The allocations and frees of a few training steps. See the module's docstring.

    Attributes:
        key: the cell without batch size, GPU and allocator settings.
        versions: of actprof, torch and lerobot, at the time of tracing.
        batch_sizes: the batch sizes that were traced.
        problems: whose bytes depend on the GPU: reductions and convolutions, as functions of the batch size.
        fixed_batch_size: the only batch size for which the sizes hold; None when they hold for every
            batch size of at least two.
        step_starts, update_starts: event index per step.
        phase_starts: (event index, index into `PHASES`) wherever the phase changes.
        carried: pairs (left behind by the last step but one, left behind by the last step); None when the
            last step cannot be repeated.
        assumptions: what could not be known and was assumed, in sentences.
        trace_seconds: what tracing took, imports left out.
        shipped: whether it came with actprof; see `actprof.trace.shipped`.
        load_details: returns what `details` does; None when nothing more is known.
    """

    key: dict[str, Any]
    versions: dict[str, str]
    policy: PolicyFacts
    tensors: TensorTable
    ops: OpTable
    events: Ints
    step_starts: tuple[int, ...]
    update_starts: tuple[int, ...]
    phase_starts: tuple[tuple[int, int], ...]
    carried: tuple[tuple[int, int], ...] | None
    batch_sizes: tuple[int, ...]
    problems: tuple[GrowingProblem, ...] = ()
    fixed_batch_size: int | None = None
    assumptions: tuple[str, ...] = ()
    trace_seconds: float = 0.0
    shipped: bool = False
    schema_version: int = field(default=SCHEMA_VERSION)
    load_details: Callable[[], TraceDetails] | None = field(default=None, repr=False)

    def details(self) -> TraceDetails:
        """Return source lines, calls, shapes, dtypes, owners and frees; a cached trace reads them now."""
        if self.load_details is None:
            return TraceDetails.unknown(ops=len(self.ops.names), tensors=len(self.tensors.op))
        return self.load_details()

    @property
    def steps(self) -> int:
        """Number of traced steps."""
        return len(self.step_starts)

    def flops(self, batch_size: int) -> int:
        """Return the floating-point operations of one step at `batch_size`."""
        each = self.ops.flops_constant + self.ops.flops_per_sample * batch_size
        return int(each.sum()) // self.steps

    def holds_for(self, batch_size: int) -> bool:
        """Return whether the sizes are right at `batch_size`.

        Batch size one has a trace of its own: with a dimension of one, `contiguous` copies nothing. So the
        smallest that was traced is the least.
        """
        if self.fixed_batch_size is not None:
            return batch_size == self.fixed_batch_size
        return batch_size >= self.batch_sizes[0]


def shape_text(shape: Shape | None) -> str:
    """Return a shape with `B` for the batch size, as `(B, 8, 602, 602)` or `(B·602, 512)`; empty for None."""
    if shape is None:
        return ""
    words = [_dimension_text(*dimension) for dimension in shape]
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"


def _dimension_text(constant: int, per_sample: int) -> str:
    if not per_sample:
        return str(constant)
    varying = "B" if per_sample == 1 else f"B·{per_sample}"
    if not constant:
        return varying
    return f"{varying} {'+' if constant > 0 else '-'} {abs(constant)}"
