"""How far a sweep is, for whoever looks from elsewhere: kept in the store, and read from there alone."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from actprof.progress import Listener, Progress
from actprof.records import from_plain, to_plain
from actprof.sweeps.store import ResultsStore

_EVERY_SECONDS = 2.0
_SILENT_SECONDS = 900.0  # a run may be measured for ten minutes
_RATE_SECONDS = 60
_MOST_SHOWN = 8
_NAME = "working"


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """The process that works on a sweep: which, since when and until when (ISO 8601), and how far it is.

    `ended` says how it ended: nothing while it works, or if it was killed.
    """

    pid: int
    host: str
    since: str
    seen: str
    total: int = 0
    done: int = 0
    running: tuple[str, ...] = ()
    ended: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it still works, as far as this machine can tell."""
        if self.ended:
            return False
        if self.host == socket.gethostname() and not _is_there(self.pid):
            return False
        return _seconds_since(self.seen) < _SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a sweep is.

    Attributes:
        name: of the scenario.
        planned: runs of its grid.
        counts: stored results by source and verdict.
        per_second: of results stored in the last minute; 0 where nobody works.
        working: the process that works on it, or did last; None of a store of an older version.
        seconds: since it began; until it was last seen, of one that has ended.
    """

    name: str
    planned: int
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    per_second: float = 0.0
    working: Working | None = None
    seconds: float = 0.0


def status_of(folder: Path) -> Status:
    """Return how far the sweep in `folder` is.

    Raises:
        StoreError: there is no store.
    """
    with ResultsStore(folder, create=False) as store:
        meta, counts = store.meta(), store.counts()
        recent = store.stored_within(_RATE_SECONDS)
    by_source: dict[str, dict[str, int]] = {}
    for (source, verdict), count in counts.items():
        by_source.setdefault(source, {})[verdict] = count
    working = from_plain(Working, meta[_NAME]) if _NAME in meta else None
    seconds = 0.0
    if working is not None:
        until = 0.0 if working.is_alive else _seconds_since(working.seen)
        seconds = max(_seconds_since(working.since) - until, 0.0)
    rate = recent / max(min(seconds, _RATE_SECONDS), 1.0)
    return Status(
        name=meta.get("name", folder.name),
        planned=meta.get("planned", len(meta.get("cells") or ())),
        counts=by_source,
        per_second=rate if working is not None and working.is_alive else 0.0,
        working=working,
        seconds=seconds,
    )


class Heartbeat:
    """A listener that hands on what it hears, and says in the store every other second how far it is."""

    def __init__(self, store: ResultsStore, listener: Listener) -> None:
        self._store = store
        self._listener = listener
        self._thread = threading.get_ident()
        self._told = float("-inf")
        now = _now()
        self._working: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        self._last = Progress()

    def __enter__(self) -> Self:
        """Say that it begins."""
        self._say()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Say how it ended."""
        how = "done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self._last = Progress(total=self._last.total, done=self._last.done)
        with suppress(Exception):  # what ended it counts more
            self._say(ended=how)

    def __call__(self, progress: Progress) -> None:
        """Hand it on, and keep it."""
        self._listener(progress)
        self._last = progress
        is_due = time.monotonic() > self._told + _EVERY_SECONDS
        if is_due and threading.get_ident() == self._thread:  # SQLite wants one thread
            self._say()

    def _say(self, ended: str = "") -> None:
        self._told = time.monotonic()
        last = self._last
        told = Working(
            **self._working, seen=_now(), total=last.total, done=last.done,
            running=last.running[:_MOST_SHOWN], ended=ended,
        )  # fmt: skip
        self._store.put_meta({_NAME: to_plain(told)})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seconds_since(text: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


def _is_there(pid: int) -> bool:
    if os.name != "posix":
        return True  # there `kill` ends it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # one that has ended, and whom nobody asked how
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return True
