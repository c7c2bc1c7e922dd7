"""What a trace knows of its ops and tensors beyond their bytes: source lines, shapes, dtypes, owners, frees.

A replay needs none of it, so it is read from a cached trace only when `Trace.details` asks. Plain columns;
needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# One dimension, `constant + per_sample * batch_size`, as (constant, per_sample).
Dimension = tuple[int, int]
Shape = tuple[Dimension, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceDetails:
    """Columns beside `OpTable` (op_…) and `TensorTable` (the others), of equal lengths.

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
    """

    op_lines: tuple[str, ...]
    op_callers: tuple[str, ...]
    shapes: tuple[Shape | None, ...]
    dtypes: tuple[str, ...]
    owners: tuple[str, ...]
    freed_by: NDArray[np.int64]

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
        )

    def itself(self) -> Self:
        """Return these details: where something that reads them is asked for."""
        return self


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
