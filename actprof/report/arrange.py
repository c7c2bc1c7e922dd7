"""Put results in order: setups, then lines of cells that differ in their batch size only.

A *setup* is what the axes of the page's figures (resolution, cameras, batch size, allocator setting) leave
over: policy, overrides, precision, GPU …; it is named after the fields in which the setups differ. A *line*
is one resolution, camera count and allocator setting of one setup; its limit is where training stops
fitting. Largest image first, fewest cameras first, PyTorch's default settings first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from actprof.cell import CELL_FIELDS, Cell
from actprof.policies import policy_title
from actprof.report.parts import dotted
from actprof.results import Result, Verdict
from actprof.words import gib, images_text, plural, says_strategy

_AXES = ("resolution", "cameras", "batch_size", "alloc_conf")


@dataclass(frozen=True)
class BatchSeries:
    """Cells that differ in their batch size only, smallest first; at least one."""

    resolution: str
    cameras: int
    alloc_conf: str
    results: tuple[Result, ...]

    @property
    def limit(self) -> int | None:
        """Largest batch size that runs; None when not known."""
        return next((r.max_batch_size for r in self.results if r.max_batch_size is not None), None)

    @property
    def tokens(self) -> int:
        """Tokens that the policy reads; 0 when there are none, or when they are not known."""
        return max(r.encoder_tokens for r in self.results)

    @property
    def images(self) -> str:
        """The sizes of the images of a sample, as there is room for them in a table or beside a figure."""
        return images_text(self.cameras, self.resolution)

    @property
    def last_running(self) -> Result | None:
        """The cell with the largest batch size that runs."""
        return next((r for r in reversed(self.results) if r.runs), None)

    @property
    def first_failing(self) -> Result | None:
        """The cell that runs out next after the last one that runs."""
        least = self.last_running.cell.batch_size if self.last_running else 0
        return next((r for r in self.results if r.verdict == Verdict.OOM and r.cell.batch_size > least), None)

    @property
    def around_limit(self) -> tuple[Result, ...]:
        """The cells on either side of the limit, those that there are."""
        return tuple(r for r in (self.last_running, self.first_failing) if r is not None)


@dataclass(frozen=True)
class Setup:
    """The lines of one policy, config and GPU; `name` is empty when there is only one setup."""

    name: str
    lines: tuple[BatchSeries, ...]

    @cached_property
    def resolutions(self) -> tuple[str, ...]:
        """Those of the lines, largest image first."""
        return tuple(dict.fromkeys(line.resolution for line in self.lines))

    @cached_property
    def cameras(self) -> tuple[int, ...]:
        """Those of the lines, fewest first."""
        return tuple(sorted({line.cameras for line in self.lines}))

    @cached_property
    def alloc_confs(self) -> tuple[str, ...]:
        """Those of the lines, the default first."""
        return tuple(sorted({line.alloc_conf for line in self.lines}))

    @cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """Those of the cells, smallest first."""
        return tuple(sorted({r.cell.batch_size for r in self.results}))

    @property
    def results(self) -> tuple[Result, ...]:
        """All cells, line by line."""
        return tuple(result for line in self.lines for result in line.results)

    def line(self, resolution: str, cameras: int, alloc_conf: str) -> BatchSeries | None:
        """Return one line, or None when nothing of it was run."""
        key = (resolution, cameras, alloc_conf)
        return next((a for a in self.lines if (a.resolution, a.cameras, a.alloc_conf) == key), None)

    @property
    def focus(self) -> BatchSeries | None:
        """The line to tell of: most tokens with two cameras (if there are any), where it stops fitting."""
        cameras = 2 if 2 in self.cameras else max(self.cameras, default=0)
        lines = [
            line for line in self.lines if line.cameras == cameras and any(r.breakdown for r in line.results)
        ]
        return next((line for line in lines if line.first_failing), lines[0] if lines else None)


def arrange(results: Iterable[Result]) -> tuple[Setup, ...]:
    """Return the setups of `results` in the order in which they first appear."""
    found: dict[str, tuple[dict[str, Any], list[Result]]] = {}
    for result in results:
        facts = _setup_facts(result)
        found.setdefault(repr(facts), (facts, []))[1].append(result)
    varying = _varying(facts for facts, _ in found.values())
    names = [
        dotted(*(_fact_text(name, facts[name]) for name in varying if name in facts))
        for facts, _ in found.values()
    ]
    return tuple(
        Setup(name or (_UNNAMED if len(names) > 1 else ""), _lines(group))
        for name, (_, group) in zip(names, found.values(), strict=True)
    )


def fixed_facts(results: Iterable[Result]) -> dict[str, Any]:
    """Return what all results have in common, as `field: value`; overrides as fields of their own."""
    facts = [_setup_facts(result) for result in results]
    varying = _varying(facts)
    return {name: value for name, value in facts[0].items() if name not in varying} if facts else {}


def share_of_device(result: Result) -> float | None:
    """Return what the run and the others need, as a share of the device; None when not known.

    A real run that did not get through has no peak: it is not known what it would have needed.
    """
    if result.source == "measured" and not result.runs:
        return None
    if not result.peak_process_bytes or not result.gpu.capacity_bytes:
        return None
    return (result.peak_process_bytes + result.cell.used_by_others_bytes) / result.gpu.capacity_bytes


def largest_image_first(cells: Iterable[Cell]) -> list[str]:
    """Return the resolutions of the cells in the order of the page."""
    sizes = {cell.resolution: _size_order(cell) for cell in cells}
    return sorted(sizes, key=lambda name: sizes[name])


def _lines(results: list[Result]) -> tuple[BatchSeries, ...]:
    groups: dict[tuple[str, int, str], dict[int, Result]] = defaultdict(dict)
    for result in results:
        cell = result.cell
        groups[cell.resolution, cell.cameras, cell.alloc_conf][cell.batch_size] = result
    lines = [BatchSeries(*key, tuple(cells[size] for size in sorted(cells))) for key, cells in groups.items()]
    return tuple(
        sorted(lines, key=lambda line: (*_size_order(line.results[0].cell), line.cameras, line.alloc_conf))
    )


def _size_order(cell: Cell) -> tuple[int, int]:
    width, height = max(cell.frame_sizes, default=(0, 0), key=lambda size: size[0] * size[1])
    return -width * height, -width


def _setup_facts(result: Result) -> dict[str, Any]:
    cell, gpu = result.cell, result.gpu
    facts: dict[str, Any] = {"gpu": gpu.name, "capacity": gpu.capacity_bytes, "policy": cell.policy}
    facts |= {f"set {name}": value for name, value in sorted(cell.overrides.items())}
    facts |= {f"peft {name}": value for name, value in sorted(cell.peft.items())}
    own = {"gpu", "capacity_bytes", "policy", "overrides", "peft", *_AXES}
    facts |= {name: value for name, value in cell.to_json().items() if name not in own}
    return {**facts, "source": result.source}


def _varying(facts: Iterable[dict[str, Any]]) -> list[str]:
    rows = list(facts)
    names = dict.fromkeys(name for row in rows for name in row)
    different = [name for name in names if len({repr(row.get(name, _ABSENT)) for row in rows}) > 1]
    if "gpu" in different:  # each GPU has its capacity: naming both says it twice
        pairs = {(row["gpu"], row["capacity"]) for row in rows}
        if len(pairs) == len({name for name, _ in pairs}):
            different = [name for name in different if name != "capacity"]
    if "world_size" in different and says_strategy({(row["world_size"], row["strategy"]) for row in rows}):
        different = [name for name in different if name != "strategy"]  # several GPUs say it
    return different


_ABSENT = object()
_UNNAMED = "as usual"  # one of several setups that sets nothing of what the others set
# Each with a default that no value has, so that none goes without saying.
_FIELDS = {part.name: replace(part, default=_ABSENT) for part in CELL_FIELDS}


def _fact_text(name: str, value: Any) -> str:
    if name == "policy":
        return policy_title(value)
    if name == "capacity":
        return f"{gib(value)} GiB"
    if name == "world_size":
        return f"{value} {plural(value, 'GPU')}"
    if name.startswith(("set ", "peft ")):
        return f"{name.removeprefix('set ').replace(' ', '.')}={value}"
    part = _FIELDS.get(name)
    if part is None or part.kind in ("gpu", "choice"):
        return str(value)
    return " ".join(part.unusual(value)) or f"no {part.called}"
