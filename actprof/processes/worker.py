"""Calls in other processes, which may die of them: then the caller gets an error, and lives.

A `Worker` takes one call after another. `call_alone` has a process for one call, with the environment, time
limit and captured output that a measurement wants: `PYTORCH_CUDA_ALLOC_CONF` is read once per process, memory
starts from nothing, and nothing is left of a run.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, ParamSpec, TypeVar

from actprof.errors import ActprofError, DiedError
from actprof.processes.child import tell
from actprof.processes.process import Environment, NoAnswerError, Process, start
from actprof.progress import Listener, nobody

_P = ParamSpec("_P")
_T = TypeVar("_T")
TIMEOUT_SECONDS = 600.0
_TOO_LATE = "the run gave no answer within {:.0f} s and was ended; allow more with --timeout"
_LAST_LINES = 12
_LAST_BYTES = 16_384


class Worker:
    """One process, started at the first call, and again at the first call after it died.

    It ends with this process, and is not told of Ctrl-C: who waits for a call then ends it.

    Args:
        environment: variables on top of ours; None takes one of ours away.
    """

    def __init__(self, environment: Environment | None = None) -> None:
        self._environment = environment or {}
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._closed = False

    def call(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what `function` returns there, or raise what it raises; all of that pickles.

        Who listens to this thread is told what it says that it is doing.

        Raises:
            DiedError: the process ended instead; says how.
        """
        with self._lock:
            try:
                value, raised = self._running().ask((function, args, kwargs), lambda told: tell(told.text))
            except NoAnswerError as silence:
                self._end()
                raise DiedError(f"the process that worked on it {silence}") from silence
            except BaseException:  # nobody waits for the answer any more
                self._end()
                raise
        if raised is not None:
            raise raised
        return value  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process, and any that a call still starts; a call that waits raises `DiedError`."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()

    def _running(self) -> Process:
        if self._process is None or not self._process.is_idle:
            self._end()
            try:
                self._process = start(self._environment)
            except OSError as error:
                raise DiedError(f"no process can be started ({error.strerror or error})") from error
        if self._closed:  # `close` saw no process yet
            self._process.kill()
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()


class WorkerError(ActprofError):
    """A call that got no answer; as a text, the reason and the last lines that its process printed.

    Attributes:
        reason: what happened.
        stderr: the last lines.
    """

    def __init__(self, reason: str, stderr: tuple[str, ...] = ()) -> None:
        super().__init__("\n  ".join((reason, *stderr)))
        self.reason = reason
        self.stderr = stderr


def _ignore(*_told: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what a call runs in a process of its own.

    Attributes:
        environment: variables on top of ours; None takes one of ours away.
        timeout: seconds after which the process is ended.
        listener: told what the call says that it is doing.
        started: told the process's id.
        answered: told when the answer is there, before the process ends and gives its memory back.
        start: starts the process, given its environment and where it prints.
    """

    environment: Environment = field(default_factory=dict)
    timeout: float = TIMEOUT_SECONDS
    listener: Listener = nobody
    started: Callable[[int], object] = _ignore
    answered: Callable[[], object] = _ignore
    start: Callable[[Environment, IO[bytes]], Process] = start


def call_alone(conditions: Conditions, function: Callable[..., _T], /, *args: Any) -> _T:
    """Return what `function` returns in a process of its own, which is gone then, with what it started.

    Raises:
        WorkerError: it died, hung, raised, or answered what nobody understands.
        UsageError: raised there.
    """
    with _temporary_file() as printed:
        try:
            process = conditions.start(conditions.environment, printed)
        except OSError as error:
            raise WorkerError(f"no worker can be started ({error.strerror or error})") from error
        late = threading.Event()
        timer = threading.Timer(conditions.timeout, _give_up, (process, late))
        timer.start()
        try:
            conditions.started(process.pid)
            value, raised = process.ask((function, args, {}), conditions.listener)
            conditions.answered()
        except NoAnswerError as silence:
            process.kill()  # so that nothing more is printed
            reason = (
                _TOO_LATE.format(conditions.timeout)
                if late.is_set()
                else f"the worker {silence}{silence.more}"
            )
            raise WorkerError(reason, _last_lines(printed)) from None
        finally:
            timer.cancel()
            process.close()
    if raised is not None:
        raise raised
    return value  # type: ignore[no-any-return]


def _give_up(process: Process, late: threading.Event) -> None:
    late.set()
    process.kill()


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise WorkerError(
            f"no temporary file can be made for what the worker prints ({error.strerror or error}); "
            "make room, or name another folder in TMPDIR"
        ) from error


def _last_lines(printed: IO[bytes]) -> tuple[str, ...]:
    printed.seek(0, os.SEEK_END)
    printed.seek(max(printed.tell() - _LAST_BYTES, 0))
    lines = printed.read().decode(errors="replace").splitlines()
    return tuple(line.rstrip() for line in lines if line.strip())[-_LAST_LINES:]
