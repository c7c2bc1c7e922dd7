"""Band and largest batch size of a question, kept on disk: they take a dozen replays, the answer itself one.

They are found by everything that decides them: the trace, the cell and its device, the versions of torch and
cuDNN, and the code that replays. A file that cannot be read is written again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from actprof.cell import Cell
from actprof.cudnn import CudnnError
from actprof.cudnn.library import installed_version
from actprof.errors import StoreError
from actprof.files import cache_folder, read_kept, write_whole
from actprof.prediction.largest_batch import largest_batch, surely_largest
from actprof.prediction.plan_band import Band, memory_band
from actprof.processes.child import tell
from actprof.records import from_plain, to_plain
from actprof.replay.profile import MemoryProfile
from actprof.replay.replay import ReplayConditions
from actprof.trace.model import Trace
from actprof.versions import code_digest, library_versions, torch_version

_LONG = 20_000  # events of a trace of which each replay takes seconds
_CODE = ("allocator", "cudnn", "hardware", "kernels", "prediction", "replay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run's peaks may be, and the largest batch sizes that likely and surely run."""

    band: Band
    largest: int | None
    surely: int | None


def limits_of(cell: Cell, trace: Trace, conditions: ReplayConditions, need: MemoryProfile) -> Limits:
    """Return the limits of the cell's run, whose peaks without limit are those of `need`."""
    path = cache_folder() / "limits" / f"{_key(cell, trace, conditions)}.json"
    known = read_kept(path, lambda text: from_plain(Limits, json.loads(text)), "largest batch size")
    if known is not None:
        return known
    tell(f"looking for the largest batch size that runs: {_how_long(trace)}, and only this once")
    try:
        largest = largest_batch(cell, trace, conditions)
        found = Limits(
            band=memory_band(trace, conditions.without_limit(), need),
            largest=largest,
            surely=surely_largest(cell, trace, conditions, at_most=largest),
        )
    finally:
        tell("")
    with suppress(StoreError):  # of a cache that cannot be written the trace says so
        write_whole(path, json.dumps(to_plain(found)).encode())
    return found


def _how_long(trace: Trace) -> str:
    return "some seconds" if len(trace.events) < _LONG else "minutes"


def _key(cell: Cell, trace: Trace, conditions: ReplayConditions) -> str:
    ops, tensors = trace.ops, trace.tensors
    columns: tuple[Any, ...] = (
        trace.events, tensors.constant, tensors.per_sample, tensors.problem, tensors.part, tensors.op,
        tensors.stream, ops.phase, ops.blas,
    )  # fmt: skip
    digest = hashlib.sha256()
    for column in columns:
        digest.update(column.tobytes())
    told = (
        cell.identity(), conditions, trace.problems, trace.carried, trace.step_starts, trace.update_starts,
        trace.phase_starts, trace.fixed_batch_size, library_versions(), torch_version(), _cudnn_version(),
        code_digest(*_CODE),
    )  # fmt: skip
    digest.update(repr(told).encode())
    return digest.hexdigest()[:32]


def _cudnn_version() -> str:
    try:
        return installed_version()
    except CudnnError:
        return ""
