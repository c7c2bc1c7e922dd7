"""Tensors that are alike, counted as one: a policy of equal layers holds as many of each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from actprof.explanation.holders import HeldTensor

_NUMBERS = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeTensors:
    """Tensors of one shape, dtype and kind in equal modules, each of so many `bytes`.

    Attributes:
        what: the group of activations, as `attention maps`, or the kind.
        module: the path that they share, with `*` where layers are numbered.
    """

    count: int
    bytes: int
    what: str
    shape: str
    dtype: str
    module: str

    @property
    def total_bytes(self) -> int:
        """Of all of them."""
        return self.count * self.bytes


def alike(tensors: Iterable[HeldTensor]) -> tuple[AlikeTensors, ...]:
    """Return the tensors counted by what they share, the groups that hold the most first."""
    counts: dict[tuple[int, str, str, str, str], int] = defaultdict(int)
    for tensor in tensors:
        path = _NUMBERS.sub("*", tensor.owner or tensor.module)
        counts[tensor.bytes, tensor.group or tensor.kind, tensor.shape, tensor.dtype, path] += 1
    groups = [
        AlikeTensors(count=count, bytes=size, what=what, shape=shape, dtype=dtype, module=module)
        for (size, what, shape, dtype, module), count in counts.items()
    ]
    return tuple(sorted(groups, key=lambda group: -group.total_bytes))
