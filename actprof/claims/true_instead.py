"""What is true where an expectation is broken, in a sentence; nothing where the figures say it all."""

from __future__ import annotations

from collections.abc import Callable

from actprof.cell import Cell
from actprof.claims.claim import Expectation
from actprof.claims.expected import Actual, Amount, Compare, Equal, Within, parse_expected
from actprof.claims.quantities import BYTES
from actprof.claims.read_quantity import resnets
from actprof.policies.facts import PolicyFacts
from actprof.results import Breakdown, Result

# The unit that is often meant by another.
_MEANT = {"KB": "KiB", "MB": "MiB", "GB": "GiB", "KiB": "KB", "MiB": "MB", "GiB": "GB"}
_MOST_NAMED = 4


def say_instead(
    expectation: Expectation, result: Result, value: Actual, facts: Callable[[Cell], PolicyFacts]
) -> str:
    """Return what is true of a cell that breaks `expectation` with `value`; may be empty."""
    name = expectation.name
    if name == "verdict":
        return result.reason
    if name == "parameters":
        return _by_component(facts(result.cell))
    if name in ("backbones", "parameters.backbone"):
        return _about_backbones(facts(result.cell), result.cell)
    if name.startswith(("share.", "held.")) and result.breakdown is not None:
        return _who_holds(result.breakdown, oom=result.oom is not None)
    if expectation.quantity.kind == BYTES and not isinstance(value, str):
        return _about_units(expectation, value)
    return ""


def _by_component(facts: PolicyFacts) -> str:
    counts: dict[str, int] = {}
    for parameter in facts.parameters:
        if not parameter.is_buffer:
            counts[parameter.component] = counts.get(parameter.component, 0) + parameter.count
    largest = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count / 1e6:.1f}M" for name, count in largest)


def _about_backbones(facts: PolicyFacts, cell: Cell) -> str:
    found = resnets(facts)
    if len(found) != 1 or cell.cameras == 1:
        return f"the policy's ResNets are {', '.join(found)}" if found else "the policy has no ResNet"
    count = sum(p.count for p in facts.parameters if p.path.startswith(found[0]) and not p.is_buffer)
    return f"the {cell.cameras} cameras share one ResNet, {found[0]}, of {count:,} parameters"


def _who_holds(breakdown: Breakdown, *, oom: bool) -> str:
    """Return the largest holders: the groups of activations, everything else by kind."""
    holders = {
        f"{group} of the {component}" if group != component else group: size
        for component, groups in breakdown.activations.items()
        for group, size in groups.items()
    }
    holders |= {kind: size for kind, size in breakdown.by_kind.items() if kind != "activations"}
    largest = sorted(holders.items(), key=lambda item: -item[1])[:_MOST_NAMED]
    shares = [f"{name} {100 * size / breakdown.allocated_bytes:.0f} %" for name, size in largest]
    return f"{'where it runs out' if oom else 'at the peak'}: {', '.join(shares)}"


def _about_units(expectation: Expectation, value: Actual) -> str:
    """Return that the figure is right in the unit that 1000 and 1024 make easy to confuse."""
    match expectation.expected:
        case Equal(Amount() as amount) | Compare(_, amount) | Within(amount):
            pass
        case _:
            return ""
    meant = _MEANT.get(amount.unit)
    if meant is None:
        return ""
    text = str(expectation.expected).replace(amount.unit, meant)
    holds = parse_expected(text, expectation.quantity).holds(value)
    return f"it holds in {meant}: {text}" if holds else ""
