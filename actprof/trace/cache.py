"""Traces on disk, so that a second question about the same policy needs no torch at all.

Where this machine has made none, one that comes with actprof is taken. A trace is found by everything that
it depends on: the cell without batch size, GPU and allocator settings, the versions of actprof, lerobot,
torch and what else the policy is built of, and the code that traces. A file that cannot be read is recorded
again, with a warning. Who predicts for another machine is lent that one's traces, and has no others.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from unittest import mock

from actprof.cell import Cell
from actprof.errors import TraceError
from actprof.files import CACHE_VARIABLE, cache_folder, keep, read_kept
from actprof.policies.libraries import missing_lerobot, versions_for
from actprof.processes.child import in_worker, tell
from actprof.processes.process import CAN_START
from actprof.processes.worker import Worker
from actprof.trace.model import SCHEMA_VERSION, Trace
from actprof.trace.shipped import shipped_trace, what_is_shipped
from actprof.trace.storage import trace_from_bytes, trace_to_bytes
from actprof.versions import code_digest

_RECORDER = "actprof.trace.record"
_log = logging.getLogger(__name__)
_worker = Worker()  # one for all traces: importing lerobot takes as long as a trace
atexit.register(_worker.close)
_lent: ContextVar[Sequence[tuple[str, Trace]] | None] = ContextVar("lent", default=None)
STOPS = "lerobot's own code for"  # how the reason begins where a GPU would change nothing


def cache_directory() -> Path:
    """Return the folder of cached traces."""
    return cache_folder() / "traces"


@contextmanager
def usable_cache() -> Iterator[None]:
    """Inside, this process and those that it starts have a cache that they can write, if only for a while."""
    folder = cache_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _log.warning("traces are kept for this run only: %s cannot be written (%s)", folder, error)
    else:
        yield
        return
    with tempfile.TemporaryDirectory() as temporary, mock.patch.dict(os.environ, {CACHE_VARIABLE: temporary}):
        yield


class NotLentError(Exception):
    """A trace is needed that was not lent: that of `cell`."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.cell = cell


@contextmanager
def lent(traces: Sequence[tuple[str, Trace]]) -> Iterator[None]:
    """Inside, these are all the traces that there are, each behind the `key_text` of its cells; none is made.

    Raises:
        NotLentError: from `trace_for`, of another.
    """
    token = _lent.set(traces)
    try:
        yield
    finally:
        _lent.reset(token)


def trace_for(cell: Cell) -> tuple[Trace, bool]:
    """Return a trace that holds for `cell` and whether it was there already.

    It is recorded in a worker, which may crash, unless this process is one or has imported the recorder.

    Raises:
        TraceError: the step cannot be traced without the device, or there is no lerobot to trace; a
            `DiedError` if the worker died of it.
        UsageError: lerobot refuses the cell's policy.
    """
    trace = cached_trace(cell)
    if trace is not None:
        return trace, True
    if _lent.get() is not None:
        raise NotLentError(cell)
    if lacks := missing_lerobot():
        raise TraceError(f"{lacks}, and no trace of such a run comes with actprof{what_is_shipped(cell)}")
    here = in_worker() or _RECORDER in sys.modules or not CAN_START
    try:
        trace = _record(cell) if here else _worker.call(_record, cell)
    finally:
        tell("")
    save_trace(trace, cell)
    return trace, False


def _record(cell: Cell) -> Trace:
    if _RECORDER not in sys.modules:
        tell("importing torch and lerobot to trace a training step: half a minute, and only this once")
    from actprof.trace.record import record_trace  # imports torch and lerobot

    return record_trace(cell)


def cached_trace(cell: Cell) -> Trace | None:
    """Return the trace that holds for `cell`, made here before, shipped or lent, or None."""
    if (known := _lent.get()) is not None:
        fitting = (trace for key, trace in known if key == key_text(cell))
        return next((trace for trace in fitting if trace.holds_for(cell.batch_size)), None)
    for path in (_path(cell, None), _path(cell, cell.batch_size)):
        trace = _load(path)
        if trace is not None and trace.holds_for(cell.batch_size):
            return trace
    return shipped_trace(cell)


def key_text(cell: Cell) -> str:
    """Return a text that the cells have in common that share traces."""
    return json.dumps(cell.trace_key(), sort_keys=True)


def save_trace(trace: Trace, cell: Cell) -> None:
    """Put `trace` where `cached_trace` finds it; a cache that cannot be written is only a warning."""
    path = _path(cell, trace.fixed_batch_size)
    keep(path, trace_to_bytes(trace), "the trace")


def _path(cell: Cell, fixed_batch_size: int | None) -> Path:
    identity = {
        "key": cell.trace_key(),
        "versions": versions_for(cell),
        "schema": SCHEMA_VERSION,
        "code": code_digest("trace", "policies", "kernels"),
        "batch_size": fixed_batch_size,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache_directory() / f"{cell.policy}-{cell.resolution}x{cell.cameras}-{digest[:20]}.npz"


def _load(path: Path) -> Trace | None:
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None
    return _load_file(path, stamp)


@lru_cache(maxsize=16)
def _load_file(path: Path, _stamp: int) -> Trace | None:
    return read_kept(path, trace_from_bytes, "trace")
