"""Fixed fields and axes to cells: the product of the axes in file order, the last axis fastest.

Values arrive validated and normalised; nothing here reads files. Errors carry the path of the offending
key, so that whoever read the file can add its line.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from actprof.cell import CELL_FIELDS, Cell
from actprof.claims.expectation import Expectation
from actprof.errors import UsageError
from actprof.hardware.catalogue import Catalogue, builtin_catalogue

LARGEST_GRID = 100_000

_FIELD_NAMES = {part.key: part.name for part in CELL_FIELDS}
_SET_PREFIX = "set."
POLICIES = "policies"  # the section of fields that the cells of one policy alone have


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question, and the cells that answer it.

    Attributes:
        name: names the folder of the results.
        question: what the scenario asks, in words.
        path: the file it was read from, or None.
        cells: one per combination of the axes, less the excluded ones; all different.
        axes: name of an axis to its values, in file order; sizes are bytes, GPUs the catalogue's names.
        fixed: the fields that are the same for all cells, as given; under `policies` those of one policy.
        catalogue: the GPUs that the cells may name: the shipped ones and the file's own.
        cpu_check: whether a sweep also runs the policy on the CPU, and compares.
        expectations: what somebody claims, or wants to hold; see `actprof.claims.judge`.
        lines: of the keys and items in the file; see `actprof.scenario.document`.
    """

    name: str = "scenario"
    question: str = ""
    path: Path | None = None
    cells: tuple[Cell, ...]
    axes: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]
    catalogue: Catalogue
    cpu_check: bool = True
    expectations: tuple[Expectation, ...] = ()
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict, repr=False)

    def place(self, cell: Cell, names: Sequence[str]) -> str:
        """Return `file:line` of what gives `cell` one of the overrides `names`, rather of what is swept."""
        paths = [path for name in names for path in self._swept(cell, name)]
        for name in names:
            paths += [(POLICIES, cell.policy, "set", name), ("set", name)]
        line = next((self.lines[path] for path in paths if path in self.lines), 0)
        return f"{self.path}:{line}" if line else ""

    def _swept(self, cell: Cell, name: str) -> Iterator[tuple[str | int, ...]]:
        value = canonical(cell.overrides.get(name))
        for index, swept in enumerate(self.axes.get(f"{_SET_PREFIX}{name}", ())):
            if canonical(swept) == value:
                yield "sweep", f"{_SET_PREFIX}{name}", index
        for index, together in enumerate(self.axes.get("set", ())):
            if name in together and canonical(together[name]) == value:
                yield "sweep", "set", index, name

    def with_gpu(self, name: str) -> Self:
        """Return the same scenario on another GPU: replaces `gpu` and `capacity`, swept or fixed.

        Raises:
            UsageError: the catalogue has no such GPU.
        """
        gpu = self.catalogue.find(name).name
        moved = (replace(cell, gpu=gpu, capacity_bytes=None) for cell in self.cells)
        cells = {cell.identity(): cell for cell in moved}
        replaced = ("gpu", "capacity")
        return replace(
            self,
            cells=tuple(cells.values()),
            axes={axis: values for axis, values in self.axes.items() if axis not in replaced},
            fixed={**{key: value for key, value in self.fixed.items() if key not in replaced}, "gpu": gpu},
            expectations=tuple(expectation.on_gpu(gpu) for expectation in self.expectations),
        )


class GridError(UsageError):
    """A grid that cannot be; `path` leads to the key at fault."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


def build_scenario(
    fixed: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    exclude: Sequence[Mapping[str, Sequence[Any]]] = (),
    *,
    catalogue: Catalogue | None = None,
) -> Scenario:
    """Return the scenario of `fixed` fields and swept `axes`.

    Args:
        fixed: scenario key to value (`batch_size`, `set`, `expandable_segments`, `capacity` in bytes …);
            `policies` maps the name of a policy to such fields, which its cells alone have.
        axes: scenario key, or `set.FIELD`, to its values.
        exclude: combinations to leave out; each maps axes to values, and matches when all of them do.
        catalogue: the GPUs of the scenario; the shipped ones if left out.

    Raises:
        GridError: an axis is empty or repeats a value, a field is both fixed and swept, an exclusion
            matches no axis or value, nothing is left, or the grid is too large.
    """
    _check_axes(fixed, axes)
    _check_exclusions(axes, exclude)
    cells = expand(fixed, axes, exclude)
    if not cells:
        raise GridError(("exclude",), "exclude leaves no run; remove an exclusion")
    return Scenario(
        cells=cells,
        axes={axis: tuple(values) for axis, values in axes.items()},
        fixed=dict(fixed),
        catalogue=catalogue or builtin_catalogue(),
    )


def _check_axes(fixed: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> None:
    """Raise `GridError` for an axis without values, a repeated value, a fixed axis, or too large a grid."""
    for axis, values in axes.items():
        if not values:
            raise GridError(("sweep", axis), f"{axis} has no values; write at least one, or remove the axis")
        known: set[str] = set()
        for index, value in enumerate(values):
            if (text := canonical(value)) in known:
                raise GridError(("sweep", axis, index), f"{axis} repeats {value_text(value)}; keep one")
            known.add(text)
    _check_fixed_and_swept(fixed, axes)
    count = math.prod(len(values) for values in axes.values())
    if count > LARGEST_GRID:
        raise GridError(
            ("sweep",), f"the grid has {count:,} runs; the limit is {LARGEST_GRID:,}, so sweep fewer values"
        )


def _check_fixed_and_swept(fixed: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> None:
    named = axes.get("policy") or [fixed.get("policy", Cell().policy)]
    for policy, own in fixed.get(POLICIES, {}).items():
        if policy not in named:
            raise GridError((POLICIES, policy), f"no run has the policy {policy}; add it, or remove these")
        if both := [key for key in own if key != "set" and key in axes]:
            raise GridError((POLICIES, policy, both[0]), f"{both[0]} is swept as well; keep one")
    fixed_overrides = {f"{_SET_PREFIX}{key}" for key in fixed.get("set", {})}
    swept_overrides = {f"{_SET_PREFIX}{key}" for value in axes.get("set", ()) for key in value}
    for axis in axes:
        if (axis in fixed and axis != "set") or axis in fixed_overrides:
            raise GridError(("sweep", axis), f"{axis} is both fixed and swept; keep one")
        if axis in swept_overrides:
            raise GridError(("sweep", axis), f"{axis} is swept by set as well; keep one")
    if clash := sorted(fixed_overrides & swept_overrides):
        raise GridError(("sweep", "set"), f"{clash[0]} is both fixed and swept; keep one")


def _check_exclusions(
    axes: Mapping[str, Sequence[Any]], exclude: Sequence[Mapping[str, Sequence[Any]]]
) -> None:
    """Raise `GridError` for an exclusion that can match nothing: a slip would leave cells in unseen."""
    for number, rule in enumerate(exclude):
        if not rule:
            raise GridError(("exclude", number), "the exclusion names no axis; write like {cameras: 3}")
        for axis, values in rule.items():
            path = ("exclude", number, axis)
            if axis not in axes:
                swept = ", ".join(axes) or "none"
                raise GridError(path, f"{axis} is not swept, so it excludes nothing; the axes are {swept}")
            if never := never_is(axis, values, axes[axis]):
                raise GridError(path, never)


def never_is(axis: str, wanted: Sequence[Any], values: Sequence[Any]) -> str:
    """Return which of `wanted` an axis never is, and what it is; nothing where all are among its `values`."""
    known = {canonical(value) for value in values}
    missing = [value for value in wanted if canonical(value) not in known]
    have = ", ".join(map(value_text, values))
    return f"{axis} never is {value_text(missing[0])}; its values are {have}" if missing else ""


def expand(
    fixed: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    exclude: Sequence[Mapping[str, Sequence[Any]]] = (),
) -> tuple[Cell, ...]:
    """Return the cells of the grid in a stable order: as nested loops over the axes in their order."""
    cells: dict[str, Cell] = {}
    for chosen in points(axes, exclude):
        cell = _possible_cell(fixed, chosen)
        if cell.identity() in cells:
            raise GridError(("sweep",), f"two combinations make the same run ({chosen}); remove one")
        cells[cell.identity()] = cell
    return tuple(cells.values())


def _possible_cell(fixed: Mapping[str, Any], chosen: Mapping[str, Any]) -> Cell:
    try:
        return make_cell(fixed, chosen)
    except GridError:
        raise
    except UsageError as error:
        raise GridError(
            ("sweep",), f"{error}, or exclude the combination" if chosen else f"{error}"
        ) from error


def points(
    axes: Mapping[str, Sequence[Any]], exclude: Sequence[Mapping[str, Sequence[Any]]] = ()
) -> Iterator[dict[str, Any]]:
    """Yield one value for each axis, for every combination that is not excluded, the last axis fastest."""
    rules = [{axis: {canonical(v) for v in values} for axis, values in rule.items()} for rule in exclude]
    for point in itertools.product(*axes.values()):
        chosen = dict(zip(axes, point, strict=True))
        if not any(all(canonical(chosen[axis]) in values for axis, values in rule.items()) for rule in rules):
            yield chosen


def make_cell(fixed: Mapping[str, Any], chosen: Mapping[str, Any]) -> Cell:
    """Return the cell of the fixed fields and one value of each axis.

    Without a `gpu`, a `capacity` alone stands for a GPU of that size; without both, `Cell` has its default.

    Raises:
        GridError: `expandable_segments` is given twice, once in `alloc_conf`.
        UsageError: no run can be like that.
    """
    common = {key: value for key, value in fixed.items() if key != POLICIES}
    policy = {**common, **chosen}.get("policy", Cell().policy)
    own = fixed.get(POLICIES, {}).get(policy, {})
    given = {**common, **own, **chosen}
    overrides = {name: value for part in (common, own, chosen) for name, value in part.get("set", {}).items()}
    overrides |= {k.removeprefix(_SET_PREFIX): v for k, v in chosen.items() if k.startswith(_SET_PREFIX)}
    values = {
        _FIELD_NAMES[key]: value
        for key, value in given.items()
        if key != "expandable_segments" and not key.startswith(_SET_PREFIX)
    }
    values["overrides"] = overrides
    if "capacity" in given and "gpu" not in given:
        values["gpu"] = None
    if "expandable_segments" in given:
        values["alloc_conf"] = _merge_expandable(given, "sweep" if "expandable_segments" in chosen else None)
    return Cell(**values)


def _merge_expandable(given: Mapping[str, Any], section: str | None) -> str:
    """Return `alloc_conf` with the shorthand in it; `false` is PyTorch's default, so it adds nothing."""
    alloc_conf: str = given.get("alloc_conf", "")
    path = ("expandable_segments",) if section is None else (section, "expandable_segments")
    if "expandable_segments" in {part.split(":")[0].strip() for part in alloc_conf.split(",")}:
        raise GridError(path, "expandable_segments is in alloc_conf as well; keep one")
    parts = [alloc_conf] if alloc_conf else []
    return ",".join([*parts, "expandable_segments:True"] if given["expandable_segments"] else parts)


def canonical(value: Any) -> str:
    """Return a text that equal values share; 1, 1.0 and true are three values."""
    return json.dumps(value, sort_keys=True)


def value_text(value: Any) -> str:
    """Return a value as errors show it."""
    return value if isinstance(value, str) else canonical(value)
