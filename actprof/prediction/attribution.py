"""Say who holds the allocated memory at one moment: by kind, and activations by component and group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from actprof.policies.facts import find_component
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import WORKSPACE_KIND, Program
from actprof.results import Breakdown
from actprof.trace.model import KINDS, PHASES, Shape, Trace

WORKSPACES, SLACK = "workspaces", "allocator slack"  # holders beside those of `KINDS`
GROUPS = MAPS, PROJECTIONS, FEATURE_MAPS, EMBEDDINGS, FEED_FORWARD, NORMS = (
    "attention maps", "projections", "feature maps", "embeddings and outputs", "feed-forward",
    "norms and residuals",
)  # fmt: skip
ACTIVATIONS = "activations"
_ACTIVATIONS = KINDS.index(ACTIVATIONS)
# Names of modules: those that are attention, feed-forward, lists of layers, and what turns inputs to tokens.
_ATTENTION = {
    "self_attn", "multihead_attn", "attn", "attn1", "attn2", "attention", "cross_attn", "self_attention",
    "encoder_attn", "crossattention",
}  # fmt: skip
_FEED_FORWARD = {
    "linear1", "linear2", "dropout", "mlp", "fc1", "fc2", "feed_forward", "ff", "ffn", "activation_fn",
}  # fmt: skip
_LAYERS = {"layers", "blocks", "transformer_blocks", "h"}
_EMBEDS = {"embeddings", "patch_embed", "patch_embedding", "patch_embeddings", "embed_tokens"}
# Names of ops: activation functions, and what takes or gives images.
_FEED_FORWARD_OPS = {"relu", "gelu", "silu"}
_IMAGE_OPS = {
    "convolution", "cudnn_batch_norm", "native_batch_norm", "native_group_norm", "max_pool2d_with_indices",
}  # fmt: skip
# Of attention: a product and its softmax give a map, the kernels give none.
_PRODUCTS, _SOFTMAX, _KERNELS = {"bmm", "baddbmm"}, "_softmax", "_scaled_dot_product"


def attribute(trace: Trace, profile: MemoryProfile, program: Program) -> Breakdown:
    """Return who holds the memory at the profile's peak, or where it ran out; everything adds up.

    Raises:
        ValueError: the profile is of a replay without `detail=True`.
    """
    if profile.alive_at_peak is None or profile.timeline is None:
        raise ValueError("the profile was replayed without detail")
    tensors = profile.alive_at_peak
    sizes = np.array(program.sizes, dtype=np.int64)[tensors]
    kinds = np.array(program.kinds, dtype=np.int64)[tensors]
    by_kind = {name: int(sizes[kinds == index].sum()) for index, name in enumerate(KINDS)}
    by_kind[WORKSPACES] = int(sizes[kinds == WORKSPACE_KIND].sum())
    allocated = profile.peak_allocated_bytes if profile.oom is None else profile.oom.allocated_bytes
    by_kind[SLACK] = allocated - sum(by_kind.values())
    return Breakdown(
        phase=_phase_at(profile, program.phase_starts),
        allocated_bytes=allocated,
        by_kind={name: size for name, size in by_kind.items() if size},
        activations=_activations(trace, tensors[kinds == _ACTIVATIONS], sizes[kinds == _ACTIVATIONS]),
    )


def _activations(
    trace: Trace, tensors: NDArray[np.int64], sizes: NDArray[np.int64]
) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    maps, shapes = maps_of(trace), trace.details().shapes
    for tensor, size in zip(tensors.tolist(), sizes.tolist(), strict=True):
        component = trace.policy.component_of(trace.ops.modules[int(trace.tensors.op[tensor])])
        groups[component][group_of_activation(trace, tensor, shapes[tensor], maps)] += size
    by_size = sorted(groups.items(), key=lambda item: -sum(item[1].values()))
    return {name: largest_first(parts) for name, parts in by_size}


Maps: TypeAlias = Mapping[str, set[Shape]]


def group_of_activation(trace: Trace, tensor: int, shape: Shape | None, maps: Maps) -> str:
    """Return the group of an activation of that shape in its component; `maps` are those of `maps_of`."""
    row = int(trace.tensors.op[tensor])
    module, op = trace.ops.modules[row], trace.ops.names[row]
    if is_map(module, op, shape, maps):
        return MAPS
    known = find_component(module, trace.policy.groups)
    return known or group_of(module, op, attends=module in maps, dimensions=len(shape or ()))


def maps_of(trace: Trace) -> Maps:
    """Return (queries, keys) of all attention maps by the module that attends; none of one without maps.

    A softmax of what no product of batches gave is over classes, and makes no map.
    """
    found: dict[str, set[Shape]] = defaultdict(set)
    products: dict[str, set[Shape]] = defaultdict(set)
    shapes = trace.details().shapes
    for tensor, row in enumerate(trace.tensors.op.tolist()):
        shape, name = shapes[tensor], _op_name(trace.ops.names[row])
        if shape is None or len(shape) < 3:
            continue
        module, sides = _attention_in(trace.ops.modules[row]), shape[-2:]
        if name in _PRODUCTS:
            products[module].add(sides)
        elif name.startswith(_KERNELS):
            found[module] |= set()
        elif name == _SOFTMAX and sides in products[module]:
            found[module].add(sides)
    return found


def is_map(module: str, op: str, shape: Shape | None, maps: Maps) -> bool:
    """Tell whether an activation is an attention map: the output of a softmax, or one of its size beside it.

    Products, casts, masks and dropouts of a map have its (queries, keys) as their last dimensions.
    """
    if shape is None or len(shape) < 3:
        return _op_name(op) == _SOFTMAX and shape is None
    return shape[-2:] in maps.get(_attention_in(module), ())


def _attention_in(module: str) -> str:
    """Return the path up to the innermost module that is attention by its name; the whole one without any."""
    parts = module.split(".")
    ends = [index for index, part in enumerate(parts, 1) if part in _ATTENTION]
    return ".".join(parts[: ends[-1]]) if ends else module


def _op_name(op: str) -> str:
    return op.split(".")[1] if "." in op else op


def group_of(module: str, op: str, *, attends: bool = False, dimensions: int = 0) -> str:
    """Return the group inside a component to which an activation other than a map belongs.

    It was made in `module` (`model.encoder.layers.0.self_attn`) by `op` (`aten.addmm.default`). A module that
    `attends` computes attention itself, with the projections of modules inside it (SmolVLA, pi0): what has
    heads there, so four `dimensions`, is of the projections.
    """
    names, name = set(module.split(".")), _op_name(op)
    layered = attends or bool(_LAYERS & names)
    if _ATTENTION & names or (attends and dimensions > 3):
        return PROJECTIONS
    if _EMBEDS & names:
        return EMBEDDINGS
    if name in _IMAGE_OPS or ("backbone" in names and not layered):
        return FEATURE_MAPS
    if layered:
        return FEED_FORWARD if _FEED_FORWARD & names or name in _FEED_FORWARD_OPS else NORMS
    return EMBEDDINGS


@dataclass(frozen=True, slots=True)
class Holder:
    """Bytes of one kind of memory; of the activations, those of one component, or of one group in it."""

    kind: str
    bytes: int
    component: str = ""
    group: str = ""


def rank_holders(
    by_kind: Mapping[str, int], activations: Mapping[str, Mapping[str, int]], *, by_group: bool = False
) -> list[Holder]:
    """Return who holds the memory of a `Breakdown`, the largest first.

    Activations stand by component (`by_group`: and group), the rest by kind.
    """
    kinds = {kind: size for kind, size in by_kind.items() if kind != ACTIVATIONS or not activations}
    holders = [
        Holder(ACTIVATIONS, size, component, group)
        for component, groups in activations.items()
        for group, size in (groups if by_group else {"": sum(groups.values())}).items()
    ]
    holders += [Holder(kind, size) for kind, size in kinds.items()]
    return sorted(holders, key=lambda holder: -holder.bytes)


def largest_first(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes of all that hold any, by name, the largest first."""
    return {name: size for name, size in sorted(sizes.items(), key=lambda item: -item[1]) if size}


def _phase_at(profile: MemoryProfile, phase_starts: tuple[tuple[int, int], ...]) -> str:
    if profile.oom is not None:
        return profile.oom.phase
    return PHASES[[phase for start, phase in phase_starts if start <= profile.peak_event][-1]]
