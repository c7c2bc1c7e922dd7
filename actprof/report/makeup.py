"""What the memory of the cells around a limit is made of: rows of parts, and the colour of each part.

Two views of the same bars: by kind (activations by component of the policy), and the activations alone, by
component and group. Parts that are small everywhere become `other`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from actprof.policies import policy_names, policy_spec
from actprof.prediction.attribution import ACTIVATIONS, largest_first, rank_holders
from actprof.report.arrange import Setup
from actprof.report.palette import component_colour, kind_colour
from actprof.results import Breakdown, Result
from actprof.words import VERDICT_WORDS, cell_text, gib

OTHER = "other"
_PREFIX = f"{ACTIVATIONS}: "
_SMALL = 0.015  # of a bar: what stays below it in every bar is not worth a colour
_FIRST = (
    "parameters", "gathered parameters", "moving average", "gradients", "gradient buckets", "optimizer state",
    "inputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """One cell, and what its memory is made of in bytes."""

    result: Result
    parts: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """Of all parts."""
        return sum(self.parts.values())

    @property
    def title(self) -> str:
        """What is said of it on pointing at it."""
        state = VERDICT_WORDS.get(self.result.verdict, self.result.verdict)
        moment = f"{self.result.breakdown.phase} phase" if self.result.breakdown else ""
        return f"{cell_text(self.result.cell)}: {state}, {gib(self.total_bytes)} GiB in the {moment}"


def collect_cells(setup: Setup, cameras: int, alloc_conf: str) -> tuple[Result, ...]:
    """Return the cells on either side of each resolution's limit."""
    lines = [setup.line(resolution, cameras, alloc_conf) for resolution in setup.resolutions]
    return tuple(r for line in lines if line for r in line.around_limit if r.breakdown is not None)


def split_by_kind(results: Iterable[Result]) -> list[Bar]:
    """Return a bar per cell: kinds of memory, activations by component."""
    return [Bar(r, _by_kind(r.breakdown)) for r in results if r.breakdown is not None]


def split_activations(results: Iterable[Result]) -> list[Bar]:
    """Return a bar per cell: activations by component and group."""
    return [Bar(r, _by_group(r.breakdown)) for r in results if r.breakdown is not None]


def merge_small(bars: Sequence[Bar]) -> list[Bar]:
    """Return the bars with every part that is small in all of them moved to `other`."""
    large = {
        name for bar in bars for name, size in bar.parts.items() if size > _SMALL * max(bar.total_bytes, 1)
    }
    return [_merged(bar, large) for bar in bars]


def list_components(results: Iterable[Result]) -> list[str]:
    """Return the components of one policy; their places decide their colours, on every page the same.

    Those that only the results name, of a policy that is not known here, come last.
    """
    runs = list(results)
    known = known_components(runs[0].cell.policy) if runs else []
    found = {name for r in runs if r.breakdown for name in r.breakdown.activations}
    return [*known, *sorted(found.difference(known))]


def known_components(policy: str) -> list[str]:
    """Return the components as the policy's description lists them, the nameless rest last."""
    if policy not in policy_names():
        return []
    spec = policy_spec(policy)
    return list(dict.fromkeys((*(name for _, name in spec.components), spec.other_component)))


def colour_parts(bars: Iterable[Bar], components: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, colour) of all parts as they are stacked: fixed ones, components, `other` last."""
    sizes: Counter[str] = Counter()
    for bar in bars:
        sizes.update(bar.parts)
    kinds = sorted(name for name in sizes if ":" not in name and name != OTHER)
    first = [name for name in _FIRST if name in kinds]
    last = [name for name in kinds if name not in _FIRST] + [name for name in sizes if name == OTHER]
    fixed, rest = ([(name, kind_colour(name)) for name in names] for names in (first, last))
    return [*fixed, *_colour_components(sizes, components), *rest]


def _colour_components(sizes: Mapping[str, int], components: Sequence[str]) -> list[tuple[str, str]]:
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for name, size in sizes.items():
        if ":" in name:
            groups[name.removeprefix(_PREFIX).partition(": ")[0]][name] = size
    order = largest_first({component: group.total() for component, group in groups.items()})
    return [
        (name, component_colour(components.index(component), shade))
        for component in order
        for shade, name in enumerate(largest_first(groups[component]))
    ]


def _by_kind(held: Breakdown) -> dict[str, int]:
    holders = rank_holders(held.by_kind, held.activations)
    return {_PREFIX + h.component if h.component else h.kind: h.bytes for h in holders}


def _by_group(held: Breakdown) -> dict[str, int]:
    holders = rank_holders({}, held.activations, by_group=True)
    return {f"{h.component}: {h.group}": h.bytes for h in holders}


def _merged(bar: Bar, large: set[str]) -> Bar:
    parts = {name: size for name, size in bar.parts.items() if name in large}
    rest = bar.total_bytes - sum(parts.values())
    return replace(bar, parts={**parts, OTHER: rest} if rest else parts)
