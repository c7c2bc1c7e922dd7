"""Say who holds the allocated memory at one moment: by kind, and activations by component and group."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from actprof.replay.profile import MemoryProfile
from actprof.replay.program import WORKSPACE_KIND, Program
from actprof.results import Breakdown
from actprof.trace.model import KINDS, PHASES, Trace

_ACTIVATIONS = KINDS.index("activations")
_ATTENTION = {"self_attn", "multihead_attn", "attn", "attention", "cross_attn"}
_FEED_FORWARD = {"linear1", "linear2", "dropout", "mlp", "fc1", "fc2", "feed_forward"}
_FEED_FORWARD_OPS = {"relu", "gelu", "silu"}
# What attention keeps of its (tokens x tokens) maps: the softmax's output, the dropout's output and mask.
_MAP_OPS = {"_softmax", "native_dropout"}


def attribute(trace: Trace, profile: MemoryProfile, program: Program) -> Breakdown:
    """Return who holds the memory at the profile's peak, or where it ran out; everything adds up.

    Args:
        trace: what was replayed.
        profile: of a replay with `detail=True`.
        program: that was replayed.

    Raises:
        ValueError: the profile has no detail.
    """
    if profile.alive_at_peak is None or profile.timeline is None:
        raise ValueError("the profile was replayed without detail")
    tensors = profile.alive_at_peak
    sizes = np.array(program.sizes, dtype=np.int64)[tensors]
    kinds = np.array(program.kinds, dtype=np.int64)[tensors]
    by_kind = {name: int(sizes[kinds == index].sum()) for index, name in enumerate(KINDS)}
    by_kind["workspaces"] = int(sizes[kinds == WORKSPACE_KIND].sum())
    allocated = profile.peak_allocated_bytes if profile.oom is None else profile.oom.allocated_bytes
    by_kind["allocator slack"] = allocated - sum(by_kind.values())
    return Breakdown(
        phase=_phase_at(profile, program.phase_starts),
        allocated_bytes=allocated,
        by_kind={name: size for name, size in by_kind.items() if size},
        activations=_activations(trace, tensors[kinds == _ACTIVATIONS], sizes[kinds == _ACTIVATIONS]),
    )


def _activations(
    trace: Trace,
    tensors: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row, size in zip(trace.tensors.op[tensors].tolist(), sizes.tolist(), strict=True):
        module = trace.ops.modules[row]
        component = trace.policy.component_of(module)
        groups[component][group_of(module, trace.ops.names[row])] += size
    by_size = sorted(groups.items(), key=lambda item: -sum(item[1].values()))
    return {name: dict(sorted(parts.items(), key=lambda item: -item[1])) for name, parts in by_size}


def group_of(module: str, op: str) -> str:
    """Return the group inside a component to which an activation belongs.

    Args:
        module: path of the module that made it (`model.encoder.layers.0.self_attn`).
        op: ATen overload that made it (`aten._softmax.default`).
    """
    parts, name = module.split("."), op.split(".")[1] if "." in op else op
    if _ATTENTION & set(parts):
        return "attention maps" if name in _MAP_OPS else "projections"
    if "backbone" in parts:
        return "feature maps"
    if "layers" not in parts:
        return "embeddings and outputs"
    if parts[-1] in _FEED_FORWARD or name in _FEED_FORWARD_OPS:
        return "feed-forward"
    return "norms and residuals"


def _phase_at(profile: MemoryProfile, phase_starts: tuple[tuple[int, int], ...]) -> str:
    if profile.oom is not None:
        return profile.oom.phase
    return PHASES[[phase for start, phase in phase_starts if start <= profile.peak_event][-1]]
