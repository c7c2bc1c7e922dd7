"""A cell from keyword options: what every function of the API that is about one run takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actprof.cell import CELL_FIELDS, Cell
from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.hardware.entries import parse_capacity
from actprof.policies import policy_spec
from actprof.units import parse_bytes


def make_cell(*, default_gpu: str | None = Cell().gpu, **options: Any) -> Cell:
    """Return the cell of keyword options, checked.

    Args:
        default_gpu: what the GPU is when neither `gpu` nor `capacity` is given.
        **options: the fields of `Cell`, sizes as `capacity` and `used_by_others` without a unit in their
            names, as texts (`"23.69GiB"`) or bytes; `gpu` is any usual name of a GPU of the catalogue. A
            capacity alone stands for a GPU of that size.

    Raises:
        UsageError: an option that a cell does not have, or a value that it cannot have.
    """
    known = {part.keyword: part for part in CELL_FIELDS}
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"{unknown[0]!r} is no option of a cell; a cell has {', '.join(known)}")
    given = {"gpu": None, **options}
    if given["gpu"] is None and given.get("capacity") is None:
        given["gpu"] = default_gpu
    fields = {}
    for name, value in given.items():
        parse = _PARSERS.get(known[name].kind)
        fields[known[name].name] = value if parse is None else parse(value)
    return Cell(**fields)


def _with_unit(size: str | int) -> int:
    """Return the bytes of `size`; a text that is a bare number above 0 is a forgotten unit."""
    if isinstance(size, str) and size.strip().replace(".", "").isdigit() and float(size) > 0:
        raise UsageError(f"{size!r} has no unit; write it like 2.3GiB, 512MiB or 1000B")
    return parse_bytes(size)


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "policy": lambda name: policy_spec(name).name,
    "overrides": lambda values: dict(values or {}),
    "gpu": lambda name: None if name is None else find_gpu(name).name,
    "capacity": lambda size: None if size is None else parse_capacity(str(size)),
    "size": _with_unit,
}
