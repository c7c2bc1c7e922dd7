"""What an expectation can be about: the names of quantities, and what kind of figure each is.

Names with a dot go into parts: `parameters.backbone`, `share.encoder.attention maps`, `held.gradients`.
Spaces and underscores are the same in them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache

from actprof.errors import UsageError
from actprof.policies import policy_names, policy_spec

# Kinds of figures.
COUNT, BYTES, SHARE, RATIO, WORD = "count", "bytes", "share", "ratio", "word"

VERDICTS = ("fits", "tight", "oom", "unknown")
PHASES = ("setup", "data", "forward", "backward", "optimizer")  # of `actprof.trace.model`
# Who can hold memory, as `actprof.prediction.attribution` names them.
HOLDERS = (
    "parameters", "buffers", "inputs", "activations", "gradients", "optimizer state", "temporaries",
    "workspaces", "allocator slack",
)  # fmt: skip
GROUPS = (
    "attention maps", "projections", "feature maps", "embeddings and outputs", "feed-forward",
    "norms and residuals",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A figure of one cell: its name, its kind, the words that it can be (any, if none), what it is."""

    name: str
    kind: str
    words: tuple[str, ...] = ()
    about: str = ""


def _plain(name: str, kind: str, about: str, words: tuple[str, ...] = ()) -> tuple[str, Quantity]:
    return name, Quantity(name=name, kind=kind, words=words, about=about)


PLAIN = dict(
    [
        _plain("verdict", WORD, "whether it runs", VERDICTS),
        _plain("encoder_tokens", COUNT, "length of the main encoder's token sequence"),
        _plain("parameters", COUNT, "elements of the policy's parameters"),
        _plain("parameters.trainable", COUNT, "elements of the parameters that are trained"),
        _plain("backbones", COUNT, "ResNets in the policy, counted in its parameters' paths"),
        _plain("checkpoint", BYTES, "the weights of a checkpoint: parameters and buffers"),
        _plain("peak_allocated", BYTES, "highest allocated memory; lerobot logs it as mem_gb"),
        _plain("peak_reserved", BYTES, "highest reserved memory"),
        _plain("peak_process", BYTES, "reserved memory and the CUDA context"),
        _plain("headroom", BYTES, "what is left of the GPU; negative where it lacks"),
        _plain("max_batch_size", COUNT, "largest batch size that runs"),
        _plain("retries", COUNT, "how often the allocator flushes its cache"),
        _plain("oom.segment", BYTES, "what PyTorch's message says it tried to allocate"),
        _plain("oom.requested", BYTES, "what the op asked for that runs out"),
        _plain("oom.phase", WORD, "phase of the step that runs out", PHASES),
        _plain("oom.module", WORD, "module that runs out, or one that it lies in"),
    ]
)
# first word -> (kind, what it is)
PARTED = {
    "parameters": (COUNT, "parameters of one component"),
    "share": (SHARE, "share of the memory at the peak, or where it runs out"),
    "held": (BYTES, "memory held at the peak, or where it runs out"),
}


def find_quantity(name: str) -> Quantity:
    """Return the quantity that `name` means.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name in PLAIN:
        return PLAIN[name]
    first, dot, part = name.partition(".")
    known = part_names(first)
    if not dot or not known:
        raise UsageError(f"unknown quantity {name!r}; {_hint(name, quantity_names())}")
    found = {spaced(known_part): known_part for known_part in known}.get(spaced(part))
    if found is None:
        raise UsageError(f"unknown quantity {name!r}; {_hint(name, [f'{first}.{item}' for item in known])}")
    kind, about = PARTED[first]
    return Quantity(name=f"{first}.{found}", kind=kind, about=about)


@cache
def part_names(first: str) -> tuple[str, ...]:
    """Return what can stand after `parameters.`, `share.` or `held.`; nothing after other words."""
    specs = [policy_spec(name) for name in policy_names()]
    components = dict.fromkeys(
        name for spec in specs for name in (*(c for _, c in spec.components), spec.other_component)
    )
    if first == "parameters":
        return tuple(components)
    if first not in PARTED:
        return ()
    return (*HOLDERS, *components, *(f"{name}.{group}" for name in components for group in GROUPS))


def quantity_names() -> list[str]:
    """Return the names of all quantities; of those with parts, the ones by component only."""
    components = part_names("parameters")
    return [*PLAIN, *(f"{first}.{name}" for first in PARTED for name in components)]


def spaced(name: str) -> str:
    """Return the name with spaces for underscores."""
    return name.replace("_", " ")


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join([*known[:20], "…"] if len(known) > 20 else known)
    return f"there are {shown}"
