"""Results as a pandas table and as CSV: one row per cell, plain columns, sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from actprof.files import write_whole
from actprof.results import Result

_MAY_BE_MISSING = (
    "max_batch_size", "surely_fits_batch_size", "peak_reserved_low_bytes", "peak_reserved_high_bytes",
    "oom_step", "oom_requested_bytes", "oom_segment_bytes",
)  # fmt: skip


def results_frame(results: Iterable[Result]) -> pd.DataFrame:
    """Return one row per result; an out-of-memory event is spread over columns `oom_…`."""
    frame = pd.DataFrame([_row(result) for result in results])
    # pandas makes floats of whole numbers where some are missing
    missing = [name for name in frame.columns if name in _MAY_BE_MISSING]
    return frame.astype(dict.fromkeys(missing, "Int64"))


def _row(result: Result) -> dict[str, Any]:
    cell, oom = result.cell, result.oom
    return {
        "policy": cell.policy,
        "resolution": cell.resolution,
        "cameras": cell.cameras,
        "batch_size": cell.batch_size,
        "alloc_conf": cell.alloc_conf,
        "gpu": result.gpu.name,
        "source": result.source,
        "verdict": result.verdict,
        "reason": result.reason,
        "max_batch_size": result.max_batch_size,
        "surely_fits_batch_size": result.surely_fits_batch_size,
        "encoder_tokens": result.encoder_tokens,
        "parameters": result.parameters,
        "peak_allocated_bytes": result.peak_allocated_bytes,
        "peak_reserved_bytes": result.peak_reserved_bytes,
        "peak_reserved_low_bytes": _end(result.peak_reserved_band_bytes, 0),
        "peak_reserved_high_bytes": _end(result.peak_reserved_band_bytes, 1),
        "peak_process_bytes": result.peak_process_bytes,
        "capacity_bytes": result.gpu.capacity_bytes,
        "headroom_bytes": result.headroom_bytes,
        "retries": result.retries,
        "step_seconds": result.step_seconds.median if result.step_seconds else None,
        "samples_per_second": result.samples_per_second,
        "limited_by": result.limited_by,
        "kernel_launches": result.kernel_launches,
        "flops_per_sample": result.flops_per_sample,
        "oom_step": None if oom is None else oom.step,
        "oom_phase": None if oom is None else oom.phase,
        "oom_module": None if oom is None else oom.module,
        "oom_op": None if oom is None else oom.op,
        "oom_requested_bytes": None if oom is None else oom.requested_bytes,
        "oom_segment_bytes": None if oom is None else oom.segment_bytes,
        **{f"set_{name}": value for name, value in sorted(cell.overrides.items())},
        "state_dim": cell.state_dim,
        "action_dim": cell.action_dim,
        "optimizer": cell.optimizer,
        "precision": cell.precision,
        "used_by_others_bytes": cell.used_by_others_bytes,
        "cudnn_benchmark": cell.cudnn_benchmark,
        "changes": " ".join(cell.changes),
        **{f"{name}_version": version for name, version in sorted(result.versions.items())},
    }


def _end(band: tuple[int, int] | None, index: int) -> int | None:
    return None if band is None else band[index]


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` so that nobody ever sees half of it.

    Raises:
        StoreError: the file cannot be written.
    """
    write_whole(path, frame.to_csv(index=False).encode())
