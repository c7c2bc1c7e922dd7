"""Where the GPU's time of a predicted step goes, for readers: few kinds of kernels, and components."""

from __future__ import annotations

from collections.abc import Mapping

from actprof.results import KindCost, StepWork
from actprof.step_time.kernel import (
    ATTENTION,
    CONCATENATION,
    CONVOLUTION,
    ELEMENTWISE,
    FILL,
    LAYOUT,
    MULTI_TENSOR,
    NARROW_LAYOUT,
    NORM,
    NORM_INPUT,
    NORM_WEIGHT,
    POOL,
    POOL_BACKWARD,
    PRODUCT,
    RANDOM,
    REDUCTION,
    SOFTMAX,
    SPLIT_REDUCTION,
    STRIDED,
    TRANSFER,
)
from actprof.words import plural

# Kinds that differ in their rates only are one here.
KIND_NAMES = {
    CONVOLUTION: "convolutions", PRODUCT: "matrix products", ATTENTION: "attention",
    LAYOUT: "layout conversions", NARROW_LAYOUT: "layout conversions",
    ELEMENTWISE: "elementwise", STRIDED: "strided elementwise", RANDOM: "random numbers",
    SOFTMAX: "softmax", NORM: "normalization", NORM_INPUT: "normalization", NORM_WEIGHT: "normalization",
    REDUCTION: "reductions", SPLIT_REDUCTION: "reductions", POOL: "pooling", POOL_BACKWARD: "pooling",
    MULTI_TENSOR: "multi-tensor", CONCATENATION: "concatenation", FILL: "fills", TRANSFER: "transfers",
}  # fmt: skip


def kind_parts(work: StepWork, most: int | None = None) -> tuple[KindCost, ...]:
    """Return the GPU's time by kind of kernel in readers' words, the longest first.

    Of more than `most` kinds the shortest are one, `5 others`.
    """
    found: dict[str, KindCost] = {}
    for cost in work.kinds:
        name = KIND_NAMES.get(cost.kind, cost.kind)
        known = found.get(name)
        found[name] = _sum(name, (cost,) if known is None else (known, cost))
    parts = sorted(found.values(), key=lambda cost: -cost.seconds)
    left = _left(len(parts), most)
    shown, rest = parts[: len(parts) - left], parts[len(parts) - left :]
    return (*shown, _sum(_others(left), rest)) if rest else tuple(shown)


def component_parts(work: StepWork, most: int | None = None) -> Mapping[str, float]:
    """Return the GPU's seconds by component, the longest first; beyond `most` the rest is `3 others`."""
    parts = sorted(work.components.items(), key=lambda item: -item[1])
    left = _left(len(parts), most)
    rest = parts[len(parts) - left :]
    shown = dict(parts[: len(parts) - left])
    return {**shown, _others(left): sum(seconds for _, seconds in rest)} if rest else shown


def _left(count: int, most: int | None) -> int:
    """Return how many are summed up, so that with their sum there are `most`."""
    return 0 if most is None or count <= most else count - most + 1


def _others(count: int) -> str:
    return f"{count} {plural(count, 'other')}"


def _sum(name: str, costs: tuple[KindCost, ...] | list[KindCost]) -> KindCost:
    return KindCost(
        kind=name,
        kernels=sum(cost.kernels for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        flops=sum(cost.flops for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
    )
