"""The `expect:` section of a scenario file to `Expectation`s; problems are noted with their line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from pydantic import ValidationError

from actprof.cell import Cell
from actprof.claims.expectation import Expectation
from actprof.claims.grammar import parse_expected
from actprof.claims.quantities import RATIO, WORD, Quantity, find_quantity
from actprof.errors import UsageError
from actprof.scenario.document import Document, Path
from actprof.scenario.grid import Scenario, never_is
from actprof.scenario.grid_cells import GridError, make_cell, points, value_text
from actprof.scenario.messages import problem_text, shown
from actprof.scenario.schema import SET_PREFIX, CellChange, ExpectEntry, ScenarioFile

_WORDS = ("claim", "source", "where", "at")

_Point: TypeAlias = dict[str, Any]


def read_expectations(document: Document, model: ScenarioFile, scenario: Scenario) -> tuple[Expectation, ...]:
    """Return the expectations of a file whose grid is valid; what is wrong is noted in `document`."""
    reader = _Reader(document, model, scenario)
    return tuple(
        item for number, entry in enumerate(model.expect) for item in reader.expectations(number, entry)
    )


class _Reader:
    """Reads the entries of one file."""

    def __init__(self, document: Document, model: ScenarioFile, scenario: Scenario) -> None:
        self._document = document
        self._fixed = dict(scenario.fixed)
        self._axes = {axis: list(values) for axis, values in scenario.axes.items()}
        if not {"gpu", "capacity"} & {*self._fixed, *self._axes}:
            self._fixed["gpu"] = Cell().gpu  # the grid's, also beside a capacity of an entry
        self._exclude = model.exclusions(document.data)
        self._catalogue = scenario.catalogue

    def expectations(self, number: int, entry: ExpectEntry) -> list[Expectation]:
        """Return one expectation for each quantity of an entry."""
        path: Path = ("expect", number)
        given: Mapping[str, Any] = self._document.data["expect"][number]
        named = [key for key in given if key not in _WORDS]
        if not named:
            self._document.problem(path, "it expects nothing; add a quantity, like encoder_tokens: 602")
        chosen = self._points(path, entry, given)
        if chosen is None:
            return []
        fixed, found = chosen
        items = (self._one((*path, key), given[key], fixed, found) for key in named)
        own_gpu = bool({"gpu", "capacity"} & set(given.get("at") or ()))
        return [
            replace(
                item, entry=number, claim=entry.claim, source=entry.source, own_gpu=own_gpu or item.own_gpu,
                scope=_scope(given, len(item.cells)),
            )
            for item in items if item is not None
        ]  # fmt: skip

    def _points(
        self, path: Path, entry: ExpectEntry, given: Mapping[str, Any]
    ) -> tuple[_Point, list[_Point]] | None:
        """Return the fixed fields and the points of the grid (or beside it) that an entry is about."""
        if "where" in given and "at" in given:
            text = "where selects runs of the grid, at states one of its own; keep one"
            self._document.problem((*path, "at"), text)
            return None
        if "at" in given:
            first = {axis: values[0] for axis, values in self._axes.items()}
            fixed, point = _changed(self._fixed, first, entry.at.values(given["at"]))
            return fixed, [point]
        axes = dict(self._axes)
        for key, wanted in entry.where.values(given["where"]).items() if "where" in given else ():
            if problem := self._never(key, wanted):
                self._document.problem((*path, "where", key), problem)
                return None
            axes[key] = wanted
        found = list(points(axes, self._exclude))
        if not found:
            self._document.problem((*path, "where"), "where selects no run: all of them are excluded")
            return None
        return self._fixed, found

    def _never(self, key: str, wanted: Sequence[Any]) -> str:
        """Return why `where: key: wanted` selects no cell; nothing when it may."""
        if key not in self._axes:
            swept = ", ".join(self._axes) or "none"
            return f"where selects by axes, and {key} is not swept (the axes are {swept}); use at: instead"
        never = never_is(key, wanted or ["one of none"], self._axes[key])
        return f"where selects no run: {never}" if never else ""

    def _one(self, path: Path, value: Any, fixed: _Point, found: Sequence[_Point]) -> Expectation | None:
        """Return what is expected of one quantity."""
        name = str(path[-1])
        try:
            quantity = find_quantity(name)
            changes: _Point | None = None
            if isinstance(value, dict):
                quantity, value, changes = self._ratio(path, value, quantity)
            expected = parse_expected(value, quantity)
            against = () if changes is None else [_changed(fixed, point, changes) for point in found]
            return Expectation(
                quantity=quantity,
                expected=expected,
                cells=tuple(make_cell(fixed, point) for point in found),
                against=tuple(make_cell(*pair) for pair in against),
                own_gpu=bool({"gpu", "capacity"} & set(changes or ())),
            )
        except GridError as error:
            self._document.problem(path[:-1], str(error))
        except UsageError as error:
            if str(error):
                self._document.problem(path, str(error))
        return None

    def _ratio(
        self, path: Path, value: Mapping[str, Any], quantity: Quantity
    ) -> tuple[Quantity, Any, _Point]:
        """Return the ratio of `quantity` to itself in other cells, what is expected, and how those differ."""
        if set(value) != {"ratio_to", "expect"}:
            raise UsageError(
                f"{quantity.name} is a mapping without exactly ratio_to and expect; "
                "write {ratio_to: {resolution: 224x224}, expect: 6}"
            )
        if quantity.kind == WORD:
            raise UsageError(f"{quantity.name} is a word and has no ratio; write what it should be")
        changes = value["ratio_to"]
        if not isinstance(changes, dict) or not changes:
            raise UsageError(
                f"ratio_to must be a mapping, like {{resolution: 224x224}}, not {shown(changes)}"
            )
        try:
            checked = CellChange.model_validate(changes, context={"catalogue": self._catalogue})
        except ValidationError as error:
            for detail in error.errors():
                where = (*path, "ratio_to", *detail["loc"])
                self._document.problem(where, problem_text({**detail, "loc": where}))
            raise UsageError from error  # it is said
        return replace(quantity, kind=RATIO), value["expect"], checked.values(changes)


def _changed(fixed: Mapping[str, Any], point: _Point, changes: _Point) -> tuple[_Point, _Point]:
    """Return fixed and chosen fields with `changes`; a new GPU brings its own capacity."""
    dropped = {"capacity"} if "gpu" in changes else set()
    dropped |= {f"{SET_PREFIX}{name}" for name in changes.get("set", ())}
    kept = {key: value for key, value in point.items() if key not in dropped}
    if "set" in changes:
        changes = {**changes, "set": {**point.get("set", {}), **changes["set"]}}
    return {key: value for key, value in fixed.items() if key not in dropped}, {**kept, **changes}


def _scope(given: Mapping[str, Any], count: int) -> str:
    """Return in words, in the terms of the file, which cells an entry is about."""
    said = given.get("at") or given.get("where") or {}
    fields = ", ".join(f"{key.replace('_', ' ')} {_said(value)}" for key, value in said.items())
    if not fields:
        return f"all {count} runs of the grid" if count > 1 else "the grid's only run"
    return f"at {fields}" if given.get("at") else f"where {fields}"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={value_text(item)}" for name, item in value.items())
    return " or ".join(map(value_text, value)) if isinstance(value, list) else value_text(value)
