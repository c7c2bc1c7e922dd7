"""Fixed fields and axes to cells: the product of the axes in file order, the last axis fastest.

Values arrive validated and normalised; nothing here reads files. Errors carry the path of the offending
key, so that whoever read the file can add its line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from actprof.cell import Cell
from actprof.claims.expectation import Expectation
from actprof.hardware.catalogue import Catalogue, builtin_catalogue
from actprof.scenario.grid_cells import (
    POLICIES,
    SET_PREFIX,
    GridCells,
    GridError,
    canonical,
    expand,
    value_text,
)

LARGEST_GRID = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question, and the cells that answer it.

    Attributes:
        name: names the folder of the results.
        question: what the scenario asks, in words.
        path: the file it was read from, or None.
        cells: one per combination of the axes, less the excluded ones; all different. Those of a large grid
            are made as they are gone through.
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
    cells: Sequence[Cell]
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
        for index, swept in enumerate(self.axes.get(f"{SET_PREFIX}{name}", ())):
            if canonical(swept) == value:
                yield "sweep", f"{SET_PREFIX}{name}", index
        for index, together in enumerate(self.axes.get("set", ())):
            if name in together and canonical(together[name]) == value:
                yield "sweep", "set", index, name

    def with_gpu(self, name: str) -> Self:
        """Return the same scenario on another GPU: replaces `gpu` and `capacity`, swept or fixed.

        Raises:
            UsageError: the catalogue has no such GPU.
        """
        gpu = self.catalogue.find(name).name
        axes = {axis: values for axis, values in self.axes.items() if axis not in _REPLACED}
        fixed = {**{key: value for key, value in self.fixed.items() if key not in _REPLACED}, "gpu": gpu}
        return replace(
            self,
            cells=self._cells_on(gpu, fixed),
            axes=axes,
            fixed=fixed,
            expectations=tuple(expectation.on_gpu(gpu) for expectation in self.expectations),
        )

    def _cells_on(self, gpu: str, fixed: Mapping[str, Any]) -> Sequence[Cell]:
        if isinstance(self.cells, GridCells) and not set(_REPLACED) & self.axes.keys():
            return GridCells(fixed, self.cells.axes, self.cells.exclude, len(self.cells))
        moved = (replace(cell, gpu=gpu, capacity_bytes=None) for cell in self.cells)
        return tuple({cell.identity(): cell for cell in moved}.values())


_REPLACED = ("gpu", "capacity")  # by another GPU


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
    fixed_overrides = {f"{SET_PREFIX}{key}" for key in fixed.get("set", {})}
    swept_overrides = {f"{SET_PREFIX}{key}" for value in axes.get("set", ()) for key in value}
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
