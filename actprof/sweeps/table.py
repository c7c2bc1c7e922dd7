"""Results as a pandas table and as CSV: one row per cell, plain columns, sizes in bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from actprof.cell import CELL_FIELDS, Cell
from actprof.files import write_whole, writing_whole
from actprof.results import Result

MOST_SHOWN = 10_000  # runs of a sweep that are shown as a table and on a page
_PART = 1000  # rows
_MAY_BE_MISSING = (
    "max_batch_size", "surely_fits_batch_size", "peak_reserved_low_bytes", "peak_reserved_high_bytes",
    "oom_step", "oom_requested_bytes", "oom_segment_bytes",
)  # fmt: skip
# What a reader looks for first; the other fields of the cell stand at the end.
_FIRST = ("policy", "resolution", "cameras", "batch_size", "alloc_conf")
# Columns of fields of the policy's config and of an adapter's; other cells may lack them.
OPTION_COLUMNS = tuple(f"{part.key}_" for part in CELL_FIELDS if part.kind == "overrides")
_OOM = ("step", "phase", "module", "op", "requested_bytes", "segment_bytes")


def results_frame(results: Iterable[Result]) -> pd.DataFrame:
    """Return one row per result; an out-of-memory event is spread over columns `oom_…`."""
    rows = [_row(result) for result in results]
    frame = pd.DataFrame(rows)
    # pandas makes floats of whole numbers where some are missing
    for name in frame.columns:
        if name.startswith(OPTION_COLUMNS):
            frame[name] = pd.Series([row.get(name) for row in rows], dtype=object)
    missing = [name for name in frame.columns if name in _MAY_BE_MISSING]
    return frame.astype(dict.fromkeys(missing, "Int64"))


def _row(result: Result) -> dict[str, Any]:
    cell = cell_columns(result.cell)
    row = {
        **{name: cell[name] for name in _FIRST},
        "gpu": result.gpu.name,
        **_values(result, "source", "verdict", "reason", "max_batch_size", "surely_fits_batch_size"),
        **_values(result, "encoder_tokens", "parameters", "peak_allocated_bytes", "peak_reserved_bytes"),
        "peak_reserved_low_bytes": _end(result.peak_reserved_band_bytes, 0),
        "peak_reserved_high_bytes": _end(result.peak_reserved_band_bytes, 1),
        "peak_process_bytes": result.peak_process_bytes,
        "capacity_bytes": result.gpu.capacity_bytes,
        **_values(result, "headroom_bytes", "retries"),
        "step_seconds": result.step_seconds.median if result.step_seconds else None,
        **_values(result, "samples_per_second", "limited_by", "kernel_launches", "flops_per_sample"),
        **{f"oom_{name}": getattr(result.oom, name, None) for name in _OOM},
    }
    row |= {name: value for name, value in cell.items() if name not in row}
    return row | {f"{name}_version": version for name, version in sorted(result.versions.items())}


def cell_columns(cell: Cell) -> dict[str, Any]:
    """Return the fields of a cell as columns, each override one of its own; names and lists are one text."""
    columns: dict[str, Any] = {}
    for part in CELL_FIELDS:
        value = getattr(cell, part.name)
        if part.kind == "overrides":
            columns |= {f"{part.key}_{name}": _plain(value[name]) for name in sorted(value)}
        else:
            columns[part.name] = " ".join(value) if part.kind == "choices" else value
    return columns


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _values(result: Result, *names: str) -> dict[str, Any]:
    return {name: getattr(result, name) for name in names}


def _end(band: tuple[int, int] | None, index: int) -> int | None:
    return None if band is None else band[index]


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` so that nobody ever sees half of it.

    Raises:
        StoreError: the file cannot be written.
    """
    write_whole(path, frame.to_csv(index=False).encode(errors="replace"))


def write_csv_in_parts(results: Callable[[], Iterable[Result]], path: Path) -> None:
    """Write the same of results that do not fit into memory; they are gone through twice.

    Raises:
        StoreError: the file cannot be written.
    """
    columns = dict.fromkeys(name for result in results() for name in _row(result))
    with writing_whole(path) as file:
        file.write((",".join(columns) + "\n").encode())
        for frame in _parts(results()):
            part = frame.reindex(columns=list(columns)).to_csv(index=False, header=False)
            file.write(part.encode(errors="replace"))


def _parts(results: Iterable[Result]) -> Iterator[pd.DataFrame]:
    rest = iter(results)
    while part := list(islice(rest, _PART)):
        yield results_frame(part)
