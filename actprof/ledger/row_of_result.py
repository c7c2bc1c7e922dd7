"""From a result to a row of the accuracy ledger: which of its figures can be compared, and what it ran on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import Gpu, cublas_workspace_bytes, find_gpu
from actprof.ledger.row import AccuracyRow, Figures
from actprof.measurement import Measurement
from actprof.results import MEASURED, Result, Verdict
from actprof.units import parse_bytes
from actprof.versions import torch_version

_IN_USE = re.compile(r"this process has (\d[\d.]* [KMG]iB) memory in use")
_COMPARABLE = (Verdict.FITS, Verdict.TIGHT, "ran", Verdict.OOM)


def row_of(measured: Result) -> AccuracyRow:
    """Return the row of a measurement by actprof, still without a prediction.

    A card that played another has kernels, and cuDNN plans, of its own: the row's cell is about the card that
    ran it, held to what the allocator was held to.
    """
    device, run = measured.device, measured.measurement
    versions = dict(measured.versions)
    if device is not None:
        found = {"driver": device.driver, "cuda": device.cuda, "cudnn": device.cudnn}
        versions |= {name: version for name, version in found.items() if version}
    played = _played(measured)
    return AccuracyRow(
        cell=played.cell,
        origin="measured",
        gpu=played.name,
        held_to_bytes=played.held_to_bytes,
        cublas_workspace_bytes=played.cublas_workspace_bytes,
        measured=figures_of(measured),
        source="measured by actprof",
        versions=versions,
        date="" if run is None else run.date,
        command="" if run is None else run.command,
    )


@dataclass(frozen=True, slots=True)
class _Played:
    cell: Cell
    name: str
    held_to_bytes: int | None = None
    cublas_workspace_bytes: int | None = None


def _played(measured: Result) -> _Played:
    """Return what ran, and what it was held to where that was a card in the part of another."""
    cell, device, run = measured.cell, measured.device, measured.measurement
    if device is None:
        return _Played(cell, measured.gpu.name)
    here, there = _known(device.name), _known(cell.gpu)
    if run is None or run.cap_bytes is None or there is None or here == there:
        return _Played(cell, device.name)
    name = f"{device.name} as {there.name}"
    if here is None:
        return _Played(cell, name)
    own, theirs = (cublas_workspace_bytes(gpu, torch_version()) for gpu in (here, there))
    workspace = None if own == theirs else theirs
    return _Played(replace(cell, gpu=here.name, capacity_bytes=None), name, run.cap_bytes, workspace)


def _known(name: str | None) -> Gpu | None:
    try:
        return find_gpu(name) if name else None
    except UsageError:
        return None


def figures_of(result: Result) -> Figures:
    """Return the figures of a result that can be compared.

    A measured run that ran out has no peaks: it ended before them. One that had to flush its cache has no
    reserved bytes and no process: they show the device's limit, where predictions say what a device without
    limit would need. Nor has a run a process where NVML did not name it, or where a larger GPU stood in for
    the cell's: its CUDA context is another, and so are its seconds.
    """
    if result.verdict not in _COMPARABLE:
        return Figures()
    measured = result.source == MEASURED
    peaks = not (measured and result.verdict == Verdict.OOM)
    segments = peaks and not (measured and result.retries)
    process = segments and (not measured or _saw_process(result.measurement))
    oom = result.oom
    return Figures(
        allocated_bytes=(result.peak_allocated_bytes or None) if peaks else None,
        reserved_bytes=(result.peak_reserved_bytes or None) if segments else None,
        process_bytes=(result.peak_process_bytes or None) if process else None,
        allocated_band_bytes=result.peak_allocated_band_bytes,
        reserved_band_bytes=result.peak_reserved_band_bytes,
        max_batch_size=result.max_batch_size,
        surely_fits_batch_size=result.surely_fits_batch_size,
        verdict=result.verdict,
        tried_bytes=None if oom is None else oom.segment_bytes or None,
        in_use_bytes=None if oom is None else _in_use(oom.message),
        step_seconds=_step_seconds(result),
    )


def _step_seconds(result: Result) -> float | None:
    """Return the median step; none of a run that runs out, nor of a GPU that stood in for another."""
    run = result.measurement
    stood_in = run is not None and run.cap_bytes is not None
    if result.step_seconds is None or result.verdict == Verdict.OOM or stood_in:
        return None
    return round(result.step_seconds.median, 6)


def _saw_process(run: Measurement | None) -> bool:
    return run is not None and run.cap_bytes is None and run.card is not None and run.card.process_bytes > 0


def _in_use(message: str) -> int | None:
    found = _IN_USE.search(message)
    return None if found is None else parse_bytes(found[1])
