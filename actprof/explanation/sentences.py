"""An explained moment in words: who holds the most, what asked for memory there, and from which line."""

from __future__ import annotations

from actprof.explanation.explain import RUNS_OUT, Holding
from actprof.explanation.holders import OpSite
from actprof.prediction.attribution import Holder, rank_holders
from actprof.units import format_bytes
from actprof.words import NARROW_SPACE, capital, percent

# What no line break parts.
_SPACE = "\u00a0"
# actprof drives that part of lerobot's loop itself (`Workload.step`).
_OUR_LOOP = "actprof/policies/workload.py"
LOOP = "lerobot's training loop"
_MENTIONED = 0.02  # of all: smaller holders are not worth a word
OTHER = "other"  # what a policy calls the component of all that it has no name for
_SINGULAR = {"moving average", "optimizer state", "allocator slack"}


def headline(moment: Holding) -> str:
    """Return who holds the most, of it what, and who comes next."""
    holders, whole = rank_holders(moment.by_kind, moment.activations), moment.allocated_bytes
    if not holders or not whole:
        return "Nothing is allocated."
    largest, *others = holders
    verb = "holds" if largest.kind in _SINGULAR else "hold"
    at = "where it runs out" if moment.what == RUNS_OUT else "at the peak"
    said = (
        f"{capital(_named(largest))} {verb} {share(largest.bytes, whole)} of the {format_bytes(whole)} "
        f"allocated {at} ({moment_text(moment)})"
    )
    inside = [
        f"{group} {share(size, whole)}"
        for group, size in moment.activations.get(largest.component, {}).items()
        if size >= _MENTIONED * whole
    ]
    if len(inside) > 1:
        said += f": {', '.join(inside)}"
    following = [
        f"{_named(other)} {share(other.bytes, whole)}"
        for other in others[:3]
        if other.bytes >= _MENTIONED * whole
    ]
    return f"{said}." + (f" Next: {', '.join(following)}." if following else "")


def _named(holder: Holder) -> str:
    name = holder.component
    if not name:
        return holder.kind
    if name == OTHER:
        return f"{name} activations"
    return f"the activations of the {name}" if " " in name else f"the {name}'s activations"


def share(part: int, whole: int) -> str:
    """Return a share as `27 %`; below one it is `<1 %`, of nothing `0 %`."""
    return percent(part, whole).replace(NARROW_SPACE, _SPACE)


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


def first_ops(moment: Holding, count: int) -> dict[str, int]:
    """Return the bytes of the ops that hold the most, by their short names, with the rest summed up."""
    items = list(moment.by_op.items())
    shown = {short_op(name): size for name, size in items[:count]}
    left = items[count:]
    return {**shown, f"{len(left)} others": sum(size for _, size in left)} if left else shown


def lines_of(site: OpSite) -> tuple[str, ...]:
    """Return the line that made the op and, where that is another, the line of lerobot that led there."""
    lines = (_line(site.line), _line(site.caller))
    return tuple(dict.fromkeys(line for line in lines if line))


def _line(line: str) -> str:
    return LOOP if line.startswith(_OUR_LOOP) else line


def site_text(site: OpSite | None) -> str:
    """Return `relu in forward, torch/nn/functional.py:1723 relu, called from lerobot/...`; empty of None."""
    if site is None:
        return ""
    lines = ", called from ".join(lines_of(site))
    return f"{short_op(site.op)} in {site.phase}{', ' if lines else ''}{lines}"
