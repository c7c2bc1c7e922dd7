"""Say who holds the allocated memory at one moment: by kind, and activations by component and group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actprof.policies.facts import find_component
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import WORKSPACE_KIND, Program
from actprof.results import Breakdown
from actprof.trace.model import KINDS, PHASES, Trace

WORKSPACES, SLACK = "workspaces", "allocator slack"  # holders beside those of `KINDS`
GROUPS = MAPS, PROJECTIONS, FEATURE_MAPS, EMBEDDINGS, FEED_FORWARD, NORMS = (
    "attention maps", "projections", "feature maps", "embeddings and outputs", "feed-forward",
    "norms and residuals",
)  # fmt: skip
ACTIVATIONS = "activations"
_ACTIVATIONS = KINDS.index(ACTIVATIONS)
_ATTENTION = {"self_attn", "multihead_attn", "attn", "attention", "cross_attn"}
_FEED_FORWARD_MODULES = {"linear1", "linear2", "dropout", "mlp", "fc1", "fc2", "feed_forward"}
_FEED_FORWARD_OPS = {"relu", "gelu", "silu"}
# What attention keeps of its (tokens x tokens) maps: the softmax's output, the dropout's output and mask.
_MAP_OPS = {"_softmax", "native_dropout"}


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
    for row, size in zip(trace.tensors.op[tensors].tolist(), sizes.tolist(), strict=True):
        module = trace.ops.modules[row]
        component = trace.policy.component_of(module)
        group = find_component(module, trace.policy.groups) or group_of(module, trace.ops.names[row])
        groups[component][group] += size
    by_size = sorted(groups.items(), key=lambda item: -sum(item[1].values()))
    return {name: largest_first(parts) for name, parts in by_size}


def group_of(module: str, op: str) -> str:
    """Return the group inside a component to which an activation belongs, by the names of its parts.

    It was made in `module` (`model.encoder.layers.0.self_attn`) by `op` (`aten._softmax.default`).
    """
    parts, name = module.split("."), op.split(".")[1] if "." in op else op
    if _ATTENTION & set(parts):
        return MAPS if name in _MAP_OPS else PROJECTIONS
    if "backbone" in parts:
        return FEATURE_MAPS
    if "layers" not in parts:
        return EMBEDDINGS
    if parts[-1] in _FEED_FORWARD_MODULES or name in _FEED_FORWARD_OPS:
        return FEED_FORWARD
    return NORMS


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
