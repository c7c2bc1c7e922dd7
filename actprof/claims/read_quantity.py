"""Read the quantities of expectations off a result and off what its policy says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from actprof.claims.expected import Actual
from actprof.claims.quantities import spaced
from actprof.policies.facts import PolicyFacts
from actprof.results import Breakdown, Result

# torchvision's ResNet, wherever it hangs in a policy.
_RESNET = re.compile(r"(?P<prefix>.*?)\.?\blayer1\.0\.conv1\.weight")
_OF_FACTS = ("parameters.", "backbones", "checkpoint")


def needs_facts(name: str) -> bool:
    """Return whether the quantity is read off the policy, not off the result."""
    return name.startswith(_OF_FACTS)


def read_result(name: str, result: Result) -> Actual | None:
    """Return a quantity of a result; None where the result does not have it (see `why_missing`)."""
    first, _, part = name.partition(".")
    if first in ("share", "held"):
        return None if result.breakdown is None else _held(result.breakdown, part, share=first == "share")
    value: Actual | None = None
    if first == "oom" and result.oom is not None:
        read: dict[str, Actual] = {
            "segment": result.oom.segment_bytes,
            "requested": result.oom.requested_bytes,
            "phase": result.oom.phase,
            "module": result.oom.module,
        }
        value = read[part]
    elif first != "oom":
        field = f"{name}_bytes" if name.startswith("peak_") or name == "headroom" else name
        value = getattr(result, field)
    return value


def read_facts(name: str, facts: PolicyFacts) -> int:
    """Return a quantity of a policy."""
    if name == "backbones":
        return len(resnets(facts))
    if name == "checkpoint":
        return sum(p.bytes for p in facts.parameters)  # buffers are saved as well
    part = name.partition(".")[2]
    counted = [p for p in facts.parameters if not p.is_buffer]
    if part == "trainable":
        return sum(p.count for p in counted if p.trainable)
    return sum(p.count for p in counted if p.component == part)


def resnets(facts: PolicyFacts) -> tuple[str, ...]:
    """Return the module path of every ResNet in a policy."""
    found = (_RESNET.fullmatch(p.path) for p in facts.parameters)
    return tuple(dict.fromkeys(match["prefix"] for match in found if match is not None))


def why_missing(name: str, result: Result) -> str:
    """Return why `read_result` has nothing."""
    if name.startswith("oom."):
        return f"it does not run out: {result.reason}" if result.runs else "where it runs out is not known"
    return "not known"


def _held(breakdown: Breakdown, part: str, *, share: bool) -> Actual:
    """Return bytes or percent held by a kind of memory, by a component's activations or a group of them."""
    size = _named(breakdown.by_kind, part)
    component, _, group = part.partition(".")
    if size is None:
        groups = _named(breakdown.activations, component) or {}
        size = (_named(groups, group) or 0) if group else sum(groups.values())
    if not share:
        return size
    return Decimal(100 * size) / max(breakdown.allocated_bytes, 1)


def _named[T](table: Mapping[str, T], name: str) -> T | None:
    return next((value for key, value in table.items() if spaced(key) == spaced(name)), None)
