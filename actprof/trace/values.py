"""Integers that decide sizes: followed on the CPU beside the fake tensors that have no data.

Vision-language models cut batches by the grids of their images and put features where the text has an image:
`tolist()`, `nonzero()`, masks. What such integers and masks are follows from what the pre-processor made, so
that each keeps a twin with its values, for as long as only known ones meet. Anything else stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten

_TWIN = "_known_values"
# Larger ones decide no size, and would make a trace wait; the largest that does is EVO1's mask of image
# tokens over the embeddings of seven samples, 7 x 1,024 x 896.
_MOST_ELEMENTS = 2**24
_AS_LARGE_AS_VALUES_SAY = {aten.unique_consecutive.default, aten.unique_dim.default, aten._unique2.default}
_UNKNOWN = 1  # what a value that nobody has counts as, like the hints of `.item()`


def known_values(tensor: Any) -> torch.Tensor | None:
    """Return the values of a fake tensor on the CPU; None where nobody knows them."""
    return getattr(tensor, _TWIN, None)


def count_true(mask: torch.Tensor) -> int:
    """Return how many elements of a mask are true: the most that they can be where nobody knows."""
    values = known_values(mask)
    if values is None:
        return mask.numel()
    with _disable_current_modes():
        return int(values.count_nonzero())


def to_list(tensor: FakeTensor) -> Any:
    """Do what `Tensor.tolist` does, with 1 in place of what nobody knows."""
    values = known_values(tensor)
    if tensor.device.type != "cpu":
        tensor.cpu()  # the host waits for it
    with _disable_current_modes():
        if values is None:
            values = torch.full(tuple(tensor.shape), _UNKNOWN, dtype=tensor.dtype)
        return values.tolist()


class FollowsValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives integers and masks their twins; the modes under it see every op as it is."""

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one op, on its twins as well if all of them are known."""
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        if func in _AS_LARGE_AS_VALUES_SAY and known_values(args[0]) is not None:
            return _as_known(func, args, kwargs)
        if func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            kwargs = {**kwargs, "output_size": _total(args[0])}
        out = func(*args, **kwargs)
        values = known_values(args[0]) if args else None
        if func is aten._local_scalar_dense.default:
            return out if values is None else _item(values)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, FakeTensor)]
        if results and all(map(_may_decide_sizes, results)):
            _follow(func, args, kwargs, results)
        return out


def _item(values: torch.Tensor) -> Any:
    with _disable_current_modes():
        return values.item()


def _as_known(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an op gives whose size depends on values that are known."""
    twins = _run_on_twins(func, args, kwargs)
    results = [args[0].new_empty(tuple(twin.shape), dtype=twin.dtype) for twin in twins]
    _remember(results, twins)
    return tuple(results)


def _total(repeats: torch.Tensor) -> int | None:
    values = known_values(repeats)
    if values is None:
        return None
    with _disable_current_modes():
        return int(values.sum())


def _may_decide_sizes(tensor: torch.Tensor) -> bool:
    plain = not (tensor.dtype.is_floating_point or tensor.dtype.is_complex)
    return plain and tensor.numel() <= _MOST_ELEMENTS


def _follow(func: Any, args: Any, kwargs: Any, results: list[FakeTensor]) -> None:
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, FakeTensor)]
    if torch.Tag.nondeterministic_seeded in func.tags:
        return
    if not all(known_values(tensor) is not None for tensor in given):
        if func._schema.is_mutable and (written := known_values(args[0])) is not None:
            with _disable_current_modes():
                written.fill_(_UNKNOWN)
        return
    twins = _run_on_twins(func, args, kwargs)
    _remember(results, (leaf for leaf in tree_leaves(twins) if isinstance(leaf, torch.Tensor)))


def _run_on_twins(func: Any, args: Any, kwargs: Any) -> Any:
    with _disable_current_modes():
        return func(*tree_map(_on_cpu, args), **{k: tree_map(_on_cpu, v) for k, v in kwargs.items()})


def _on_cpu(value: Any) -> Any:
    if isinstance(value, FakeTensor):
        return known_values(value)
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _remember(results: Iterable[FakeTensor], twins: Iterable[torch.Tensor]) -> None:
    for result, twin in zip(results, twins, strict=True):
        setattr(result, _TWIN, twin)
