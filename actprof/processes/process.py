"""One worker process, asked through a pipe: whatever it does, there is an answer, or what it did instead.

It is a fresh interpreter that knows our `sys.path` and nothing of our `__main__`, so a script needs no guard.
Functions, arguments and what comes back pickle, and travel through a `multiprocessing.Pipe`.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any, Protocol, TypeAlias

from actprof.errors import UsageError
from actprof.processes.child import PROGRESS, RAISED, RETURNED
from actprof.progress import Listener, nobody

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10.0  # a process that has closed its end of the pipe may take a moment to be gone
_LONGEST_MESSAGE = 1 << 29  # bytes; text that is taken for a length is above
_SHOWN = 80

# Whether workers can be started: they take a pipe by its descriptor and a session of their own.
CAN_START = os.name == "posix"
Environment: TypeAlias = Mapping[str, str | None]
Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


class NoAnswerError(Exception):
    """What a process did instead of answering, as the predicate of a sentence that may have `more`."""

    def __init__(self, predicate: str, more: str = "") -> None:
        super().__init__(predicate)
        self.more = more


class Running(Protocol):
    """What is asked of a process that was started, as of a `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended; raise `subprocess.TimeoutExpired` when it has not."""


class Process:
    """A running worker and the pipe through which it is asked; see `start`. It leads a group of its own."""

    def __init__(self, pipe: Connection, running: Running) -> None:
        self._pipe = pipe
        self._running = running
        self.pid = running.pid

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a call: it runs, and says nothing."""
        return self._running.poll() is None and not self._pipe.poll()

    def ask(
        self, call: Call, listener: Listener = nobody, descriptors: Sequence[int] = ()
    ) -> tuple[Any, Exception | None]:
        """Return what a call returns there, or else the exception that it raises.

        The function finds the open `descriptors`, if any, on the pipe.

        Raises:
            NoAnswerError: it does neither.
        """
        with suppress(ConnectionError):  # a process that is gone says so by its silence
            self._pipe.send(call)
            if descriptors:
                with socket.fromfd(self._pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as place:
                    socket.send_fds(place, [b"\0"], descriptors)
        while True:
            kind, value = self._receive()
            if kind != PROGRESS:
                return (value, None) if kind == RETURNED else (None, value)
            listener(value)

    def _receive(self) -> tuple[str, Any]:
        try:
            if self._has_ended_silently():
                raise self._ended()
            data = self._pipe.recv_bytes(_LONGEST_MESSAGE)
        except (EOFError, OSError) as error:
            if not self._pipe.readable:  # what stood for a length was none
                raise NoAnswerError("sent what is no message (garbage)") from error
            raise self._ended() from error
        return _read(data)

    def _has_ended_silently(self) -> bool:
        """Wait until there is something to read, or the process is gone, and return whether it left nothing.

        The end of the pipe is not waited for: a process that was left behind may hold it open.
        """
        while not self._pipe.poll(_POLL_SECONDS):
            if self._running.poll() is not None:
                return not self._pipe.poll()
        return False

    def _ended(self) -> NoAnswerError:
        try:
            code = self._running.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return NoAnswerError("stopped talking without an answer, and was ended")
        return NoAnswerError(how_it_ended(code), " and without an answer" if code >= 0 else "")

    def kill(self) -> None:
        """Leave nothing behind: neither the process nor what it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._running.wait()

    def close(self) -> None:
        """End it, and use it no more."""
        self.kill()
        self._pipe.close()


def start(environment: Environment, output: IO[bytes] | None = None, *, forks: bool = False) -> Process:
    """Return a new worker, in a session of its own, so that Ctrl-C does not reach it.

    Args:
        environment: variables on top of ours; None takes one of ours away.
        output: where it prints, and then it is for one call; where we print if left out.
        forks: it will fork, and so has no thread of ours.

    Raises:
        OSError: it cannot be started.
        UsageError: on Windows.
    """
    if not CAN_START:
        raise UsageError("this runs in a process of its own, which actprof can start on Linux and macOS only")
    ours, theirs = Pipe()
    path = [os.fspath(folder) for folder in sys.path]
    program = (
        f"import sys; sys.path[:] = {path!r}; from actprof.processes.child import serve; "
        f"serve({theirs.fileno()}, {os.getpid()}, once={output is not None}, watches={not forks})"
    )
    with theirs:
        popen = subprocess.Popen(
            [sys.executable, "-c", program], pass_fds=[theirs.fileno()], start_new_session=True,
            env=merged(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    return Process(ours, popen)


def merged(environment: Environment) -> dict[str, str]:
    """Return our variables with these on top."""
    return {name: value for name, value in {**os.environ, **environment}.items() if value is not None}


def _read(data: bytes) -> tuple[str, Any]:
    try:
        message = pickle.loads(data)  # noqa: S301 - of our own process
    except (AttributeError, ImportError, TypeError) as error:  # a record that is not as ours
        raise NoAnswerError(f"gave an answer that is not understood ({error})") from error
    except Exception:  # noqa: BLE001 - what garbage makes pickle raise is not documented
        message = None
    match message:
        case (str() as kind, value) if kind in (PROGRESS, RETURNED, RAISED):
            return kind, value
    raise NoAnswerError(f"sent what is no message (garbage: {data[:_SHOWN]!r})")


def how_it_ended(code: int) -> str:
    """Return what became of a process by its exit code: `was killed by SIGSEGV`, `ended with exit code 1`."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (the machine may have run out of memory)" if code == -signal.SIGKILL else ""
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}{hint}"
    return f"was killed by signal {-code}"
