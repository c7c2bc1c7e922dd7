"""An explained moment in words: who holds the most, what asked for memory there, and from which line."""

from __future__ import annotations

from actprof.explanation.holders import HeldTensor, OpSite
from actprof.explanation.moment import RUNS_OUT, Holding
from actprof.units import format_bytes

# What no line break parts.
_SPACE = "\u00a0"
# actprof drives that part of lerobot's loop itself (`Workload.step`).
_OUR_LOOP = "actprof/policies/workload.py:"
LOOP = "lerobot's training loop"
_ACTIVATIONS = " activations"
_MENTIONED = 0.02  # of all: smaller holders are not worth a word
_SINGULAR = {"optimizer state", "allocator slack"}


def headline(moment: Holding) -> str:
    """Return who holds the most, of it what, and who comes next."""
    holders = _holders(moment)
    whole = moment.allocated_bytes
    if not holders or not whole:
        return "Nothing is allocated."
    (name, size), *others = holders
    verb = "holds" if name in _SINGULAR else "hold"
    at = "where it runs out" if moment.what == RUNS_OUT else "at the peak"
    where = f"{at} ({moment_text(moment)})"
    first = (
        f"{_capital(_named(name))} {verb} {share(size, whole)} of the {format_bytes(whole)} allocated {where}"
    )
    groups = moment.activations.get(name.removesuffix(_ACTIVATIONS), {})
    inside = [(group, size) for group, size in groups.items() if size >= _MENTIONED * whole]
    if len(inside) > 1:
        first += ": " + ", ".join(f"{group} {share(size, whole)}" for group, size in inside)
    next_ones = [
        f"{_named(name)} {share(size, whole)}" for name, size in others[:3] if size >= _MENTIONED * whole
    ]
    return f"{first}." + (f" Next: {', '.join(next_ones)}." if next_ones else "")


def _holders(moment: Holding) -> list[tuple[str, int]]:
    """Return activations by component and everything else by kind, the largest first."""
    sizes = {f"{name}{_ACTIVATIONS}": sum(groups.values()) for name, groups in moment.activations.items()}
    sizes |= {kind: size for kind, size in moment.by_kind.items() if kind != "activations"}
    return sorted(sizes.items(), key=lambda item: -item[1])


def _named(holder: str) -> str:
    if not holder.endswith(_ACTIVATIONS):
        return holder
    component = holder.removesuffix(_ACTIVATIONS)
    return f"the activations of {component}" if " " in component else f"the {component}'s activations"


def share(part: int, whole: int) -> str:
    """Return a share as `27 %`; below one it is `<1 %`, of nothing `0 %`."""
    percent = 100 * part / whole if whole else 0.0
    return f"{'<1' if 0 < percent < 1 else format(percent, '.0f')}{_SPACE}%"


def moment_text(moment: Holding) -> str:
    """Return `forward phase of step 3`, or `while the run is set up`."""
    return f"{moment.phase} phase of step {moment.step}" if moment.step else "while the run is set up"


def request_text(moment: Holding) -> str:
    """Return which op asks for memory at that moment, in a sentence; empty when it is not known."""
    site = moment.site
    if site is None:
        return ""
    size = format_bytes(moment.requested_bytes)
    asker = f"{short_op(site.op)} in {site.module}" if site.module else short_op(site.op)
    said = (
        f"There {asker} asks for {size}"
        if moment.what == RUNS_OUT
        else f"It is reached when {asker} asks for {size}"
    )
    lines = lines_of(site)
    return f"{said}{', at ' if lines else ''}{', called from '.join(lines)}."


def short_op(op: str) -> str:
    """Return `relu` for `aten.relu.default`, `add.Tensor` for `aten.add.Tensor`."""
    return op.removeprefix("aten.").removesuffix(".default")


def lines_of(site: OpSite) -> tuple[str, ...]:
    """Return the line that made the op and, where that is another, the line of lerobot that led there."""
    lines = (_line(site.line), _line(site.caller))
    return tuple(dict.fromkeys(line for line in lines if line))


def _line(line: str) -> str:
    return LOOP if line.startswith(_OUR_LOOP) else line


def made_text(tensor: HeldTensor) -> str:
    """Return `relu in forward, torch/nn/functional.py:1723 relu, called from lerobot/...`."""
    return _site_text(tensor.made_by)


def freed_text(tensor: HeldTensor) -> str:
    """Return the same of the op that frees it; empty when none does."""
    return "" if tensor.freed_by is None else _site_text(tensor.freed_by)


def _site_text(site: OpSite) -> str:
    made = f"{short_op(site.op)} in {site.phase}"
    lines = ", called from ".join(lines_of(site))
    return f"{made}, {lines}" if lines else made


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
