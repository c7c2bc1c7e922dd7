"""What an expectation can be about: quantities by name, what kind of figure each is, and how it is read.

Names with a dot go into parts: `parameters.backbone`, `share.encoder.attention maps`, `memory.gradients`.
Most are read off a result, some off what the policy says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TypeAlias

from actprof.cell import Cell
from actprof.errors import TraceError, UsageError, did_you_mean
from actprof.policies import policy_names, policy_spec, policy_title
from actprof.policies.facts import PolicyFacts
from actprof.prediction.attribution import GROUPS, SLACK, WORKSPACES
from actprof.results import Breakdown, Result, Verdict
from actprof.trace.model import KINDS, PHASES

# Kinds of figures.
COUNT, BYTES, SECONDS, SHARE, RATIO, WORD = "count", "bytes", "seconds", "share", "ratio", "word"

VERDICTS = tuple(verdict.value for verdict in Verdict if verdict != Verdict.FAILED)
HOLDERS = (*KINDS, WORKSPACES, SLACK)
# torchvision's ResNet, wherever it hangs in a policy; `layer1` is the fifth module of one taken apart.
_RESNET = re.compile(r"(?P<prefix>.*?)\.?\b(?:layer1|4)\.0\.conv1\.weight")
_OF_FACTS = ("parameters.", "trainable.", "chunk_size", "backbones", "checkpoint")

Actual: TypeAlias = int | Decimal | str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of one cell: its name, its kind, what it is, the words that it can be (any, if none)."""

    name: str
    kind: str
    about: str = ""
    words: tuple[str, ...] = ()


PLAIN = {
    quantity.name: quantity
    for quantity in (
        Quantity("verdict", WORD, "whether it runs", VERDICTS),
        Quantity("encoder_tokens", COUNT, "tokens that enter the policy's encoder or language model"),
        Quantity("parameters", COUNT, "elements of the policy's parameters"),
        Quantity("parameters.trainable", COUNT, "elements of the parameters that are trained"),
        Quantity("chunk_size", COUNT, "actions that the policy predicts at once"),
        Quantity("backbones", COUNT, "ResNets in the policy, counted in its parameters' paths"),
        Quantity("checkpoint", BYTES, "the weights of a checkpoint: parameters and buffers"),
        Quantity("peak_allocated", BYTES, "highest allocated memory; lerobot logs it as mem_gb"),
        Quantity("peak_reserved", BYTES, "highest reserved memory"),
        Quantity("peak_process", BYTES, "reserved memory and the CUDA context"),
        Quantity("headroom", BYTES, "what is left of the GPU; negative where it lacks"),
        Quantity("max_batch_size", COUNT, "largest batch size that runs"),
        Quantity("step", SECONDS, "median of one step's update; loading is not in it"),
        Quantity("samples_per_second", RATIO, "batch size by that median"),
        Quantity("retries", COUNT, "how often the allocator flushes its cache"),
        Quantity("oom.segment", BYTES, "what PyTorch's message says it tried to allocate"),
        Quantity("oom.requested", BYTES, "what the op asked for that runs out"),
        Quantity("oom.phase", WORD, "phase of the step that runs out", PHASES),
        Quantity("oom.module", WORD, "module that runs out, or one that it lies in"),
    )
}
# first word -> (kind, what it is)
PARTED = {
    "parameters": (COUNT, "parameters of one component"),
    "trainable": (COUNT, "trained parameters of one component"),
    "share": (SHARE, "share of the memory at the peak, or where it runs out"),
    "memory": (BYTES, "memory held at the peak, or where it runs out"),
}


def find_quantity(name: str) -> Quantity:
    """Return the quantity that `name` means; case, spaces, hyphens and underscores of a part do not count.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name in PLAIN:
        return PLAIN[name]
    first, dot, part = name.partition(".")
    known = part_names(first)
    if not dot or not known:
        raise UsageError(f"unknown quantity {name!r}; {_hint(name, quantity_names())}")
    found = {_bare(item): item for item in known}.get(_bare(part))
    if found is None:
        raise UsageError(f"unknown quantity {name!r}; {_hint(name, [f'{first}.{item}' for item in known])}")
    kind, about = PARTED[first]
    return Quantity(name=f"{first}.{found}", kind=kind, about=about)


def _bare(part: str) -> str:
    return re.sub(r"[\s_-]", "", part).casefold()


@cache
def part_names(first: str) -> tuple[str, ...]:
    """Return what can stand after `parameters.`, `share.` or `memory.`; nothing after other words."""
    specs = [policy_spec(name) for name in policy_names()]
    components = dict.fromkeys(
        name for spec in specs for name in (*(c for _, c in spec.components), spec.other_component)
    )
    if first in ("parameters", "trainable"):
        return tuple(components)
    if first not in PARTED:
        return ()
    return (*HOLDERS, *components, *(f"{name}.{group}" for name in components for group in GROUPS))


def quantity_names() -> list[str]:
    """Return the names of all quantities; of those with parts, the ones by component only."""
    components = part_names("parameters")
    return [*PLAIN, *(f"{first}.{name}" for first in PARTED for name in components)]


def _hint(name: str, known: list[str]) -> str:
    shown = ", ".join([*known[:20], "…"] if len(known) > 20 else known)
    return did_you_mean(name, *known) or f"there are {shown}"


# -- reading -------------------------------------------------------------------------------------------

GetFacts: TypeAlias = Callable[[Cell], PolicyFacts]


def read_quantity(name: str, result: Result, get_facts: GetFacts) -> tuple[Actual | None, str]:
    """Return the quantity of a result, or of the policy of its cell; or None, and why there is nothing.

    `get_facts` returns what the policy of a cell says of itself, or raises `TraceError`.
    """
    if result.verdict == Verdict.UNKNOWN and name != "verdict":
        return None, result.reason
    if name.startswith(_OF_FACTS):
        try:
            return read_facts(name, get_facts(result.cell)), ""
        except TraceError as error:
            return None, str(error)
    value = _read_result(name, result)
    return value, "" if value is not None else _why_nothing(name, result)


def _why_nothing(name: str, result: Result) -> str:
    if name == "encoder_tokens":
        return f"no tokens of {policy_title(result.cell.policy)} are counted"
    if not name.startswith("oom."):
        return "not known"
    return f"it does not run out: {result.reason}" if result.runs else "where it runs out is not known"


def _read_result(name: str, result: Result) -> Actual | None:
    first, _, part = name.partition(".")
    if first in ("share", "memory"):
        return None if result.breakdown is None else _held(result.breakdown, part, share=first == "share")
    if first == "oom":
        field = {"segment": "segment_bytes", "requested": "requested_bytes"}.get(part, part)
        return None if result.oom is None else getattr(result.oom, field)
    if name == "step":
        return None if result.step_seconds is None else Decimal(str(result.step_seconds.median))
    if name == "samples_per_second":
        return None if result.samples_per_second is None else Decimal(str(result.samples_per_second))
    if name == "encoder_tokens":
        return result.encoder_tokens or None
    field = f"{name}_bytes" if name.startswith("peak_") or name == "headroom" else name
    value: Actual | None = getattr(result, field)
    return value


def _held(breakdown: Breakdown, part: str, *, share: bool) -> Actual:
    """Return bytes or percent held by a kind of memory, by a component's activations or a group of them."""
    size = breakdown.by_kind.get(part)
    if size is None:
        component, _, group = part.partition(".")
        groups = breakdown.activations.get(component, {})
        size = groups.get(group, 0) if group else sum(groups.values())
    return Decimal(100 * size) / max(breakdown.allocated_bytes, 1) if share else size


def read_facts(name: str, facts: PolicyFacts) -> int:
    """Return a quantity of a policy."""
    if name == "backbones":
        return len(resnets(facts))
    if name == "chunk_size":
        return facts.output_shape[0] if facts.output_shape else 0
    if name == "checkpoint":
        return sum(p.bytes for p in facts.parameters)  # buffers are saved as well
    first, _, part = name.partition(".")
    only = first == "trainable" or part == "trainable"
    counted = [p for p in facts.parameters if not p.is_buffer and (p.trainable or not only)]
    return sum(p.count for p in counted if part in ("trainable", p.component))


def resnets(facts: PolicyFacts) -> tuple[str, ...]:
    """Return the module path of every ResNet in a policy."""
    found = (_RESNET.fullmatch(p.path) for p in facts.parameters)
    return tuple(dict.fromkeys(match["prefix"] for match in found if match is not None))
