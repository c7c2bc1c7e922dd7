"""The cells of a grid: one for each combination of the axes, in file order, the last axis fastest.

Those of a large grid are never all there at once.
"""

from __future__ import annotations

import itertools
import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from actprof.cell import CELL_FIELDS, Cell
from actprof.errors import UsageError

LARGEST_KEPT = 10_000  # cells of a grid that are kept; those of a larger one are made whenever asked for
POLICIES = "policies"  # the section of fields that the cells of one policy alone have
SET_PREFIX = "set."

_FIELD_NAMES = {part.key: part.name for part in CELL_FIELDS}


class GridError(UsageError):
    """A grid that cannot be; `path` leads to the key at fault."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


class GridCells(Sequence[Cell]):
    """The cells of a large grid: not kept, but made in their order whenever they are gone through."""

    def __init__(
        self,
        fixed: Mapping[str, Any],
        axes: Mapping[str, Sequence[Any]],
        exclude: Sequence[Mapping[str, Sequence[Any]]],
        count: int,
    ) -> None:
        self.axes = axes
        self.exclude = exclude
        self._fixed = fixed
        self._count = count

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __iter__(self) -> Iterator[Cell]:
        """Make one after the other."""
        return (make_cell(self._fixed, chosen) for chosen in points(self.axes, self.exclude))

    @overload
    def __getitem__(self, place: int) -> Cell: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Cell]: ...
    def __getitem__(self, place: int | slice) -> Cell | Sequence[Cell]:
        """Return a cell, or some; all before are made for it."""
        wanted = range(self._count)[place]
        if isinstance(wanted, int):
            return next(itertools.islice(self, wanted, None))
        if wanted.step < 0:
            return tuple(self)[place]
        return tuple(itertools.islice(self, wanted.start, wanted.stop, wanted.step))


def expand(
    fixed: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    exclude: Sequence[Mapping[str, Sequence[Any]]] = (),
) -> Sequence[Cell]:
    """Return the cells of the grid in a stable order: as nested loops over the axes in their order."""
    if math.prod(len(values) for values in axes.values()) > LARGEST_KEPT:
        return GridCells(fixed, axes, exclude, _checked_count(fixed, axes, exclude))
    cells: dict[str, Cell] = {}
    for chosen in points(axes, exclude):
        cell = _possible_cell(fixed, chosen)
        if cell.identity() in cells:
            raise _repeated(chosen)
        cells[cell.identity()] = cell
    return tuple(cells.values())


def _checked_count(
    fixed: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    exclude: Sequence[Mapping[str, Sequence[Any]]],
) -> int:
    """Return how many cells there are, once all are known to be possible and different: in 8 bytes each."""
    import numpy as np

    seen = array("q", (hash(_possible_cell(fixed, chosen).identity()) for chosen in points(axes, exclude)))
    ordered = np.sort(np.frombuffer(seen, dtype=np.int64))
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    identities = set()
    for chosen in points(axes, exclude) if twice else ():
        identity = make_cell(fixed, chosen).identity()
        if hash(identity) in twice and identity in identities:
            raise _repeated(chosen)
        identities |= {identity} if hash(identity) in twice else set()
    return len(seen)


def _repeated(chosen: Mapping[str, Any]) -> GridError:
    why = "; with several GPUs strategy none is ddp" if {"world_size", "strategy"} <= set(chosen) else ""
    return GridError(("sweep",), f"two combinations make the same run ({chosen}); remove one{why}")


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
    overrides |= {k.removeprefix(SET_PREFIX): v for k, v in chosen.items() if k.startswith(SET_PREFIX)}
    values = {
        _FIELD_NAMES[key]: value
        for key, value in given.items()
        if key != "expandable_segments" and not key.startswith(SET_PREFIX)
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
