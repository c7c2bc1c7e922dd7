"""A cell from keyword options: what every function of the API that is about one run takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.hardware.entries import parse_capacity
from actprof.policies import policy_module
from actprof.scenario import Cell
from actprof.units import parse_bytes

DEFAULT_GPU = "RTX 3090"


def make_cell(
    *,
    policy: str = "act",
    overrides: Mapping[str, Any] | None = None,
    capacity: str | int | None = None,
    used_by_others: str | int = 0,
    gpu: str | None = None,
    default_gpu: str | None = DEFAULT_GPU,
    **fields: Any,
) -> Cell:
    """Return the cell of keyword options, checked.

    Args:
        policy: lerobot's name of the policy.
        overrides: fields of the policy's lerobot config.
        capacity: memory of the device (`"23.69GiB"` or bytes); alone, it stands for a GPU of that size.
        used_by_others: memory that other processes hold.
        gpu: name of a GPU of the catalogue.
        default_gpu: what it is when neither it nor `capacity` is given.
        **fields: other fields of `Cell`: cameras, resolution, batch_size, state_dim, action_dim, optimizer,
            precision, alloc_conf, cudnn_benchmark, changes.

    Raises:
        UsageError: a field that a cell does not have, or a value that it cannot have.
    """
    policy_module(policy)  # refuses an unknown one
    if gpu is None and capacity is None:
        gpu = default_gpu
    try:
        return Cell(
            policy=policy,
            overrides=dict(overrides or {}),
            gpu=None if gpu is None else find_gpu(gpu).name,
            capacity_bytes=None if capacity is None else parse_capacity(str(capacity)),
            used_by_others_bytes=_with_unit(used_by_others),
            **fields,
        )
    except TypeError as error:
        raise UsageError(f"{error}; a cell has {', '.join(Cell.__dataclass_fields__)}") from error


def _with_unit(size: str | int) -> int:
    """Return the bytes of `size`; a text that is a bare number above 0 is a forgotten unit."""
    if isinstance(size, str) and size.strip().replace(".", "").isdigit() and float(size) > 0:
        raise UsageError(f"{size!r} has no unit; write it like 2.3GiB, 512MiB or 1000B")
    return parse_bytes(size)


def either(cell: Cell | None, options: Mapping[str, Any]) -> Cell:
    """Return the cell itself, or the one that `options` describe; not both."""
    if cell is None:
        return make_cell(**options)
    if options:
        raise UsageError(f"a cell says everything; leave out {', '.join(options)}")
    return cell
