"""Processes for one call each that begin with what another process has imported: a fork, no new interpreter.

    server = ForkServer()
    call_alone(Conditions(start=server.starting(prepare, name)), function, request)

The server process calls `prepare(name)`, which imports, and forks. Whoever calls is told of the child as of
any other worker: it has an environment, an output, a time limit and a death of its own. Where nothing can be
forked a new interpreter is started instead.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe, get_context
from multiprocessing.process import BaseProcess
from typing import IO, Any, Self
from weakref import WeakSet

from actprof.processes.child import descriptors, serve, tell
from actprof.processes.process import Call, Environment, NoAnswerError, Process, merged, start

CAN_FORK = sys.platform == "linux"  # there a child can be made to end with its server
_POLL_SECONDS = 0.02
_IMPORT_SECONDS = 600.0  # torch and lerobot from a slow disk


class ForkServer:
    """Starts processes that have imported already; threads may share it. Its `with` block ends them.

    The server is started at the first call, and again at the first one after it died; it ends with this
    process.

    Args:
        environment: of the server, on top of ours: what libraries read while they are imported. A child has
            ours instead, with its own on top.
    """

    def __init__(self, environment: Environment | None = None) -> None:
        self._environment = environment or {}
        self._lock = threading.Lock()
        self._server: Process | None = None
        self._started: WeakSet[Process] = WeakSet()
        self._closed = False

    def __enter__(self) -> Self:
        """Use it in a with statement."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End the server and what it has started: a call that waits raises `WorkerError`."""
        self._closed = True
        if (server := self._server) is not None:
            server.kill()  # first: whoever waits for it holds the lock
        for process in list(self._started):
            process.kill()

    def starting(
        self, prepare: Callable[..., str], *args: Any
    ) -> Callable[[Environment, IO[bytes]], Process]:
        """Return what starts a process after the server has called `prepare`; for `Conditions`.

        `prepare` returns why its process cannot be forked any more, as when a device was started; or nothing.
        """

        def begin(environment: Environment, output: IO[bytes]) -> Process:
            if self._closed:
                raise OSError("what starts it was closed")
            process = None
            if CAN_FORK:
                process = self._fork((fork, (merged(environment), prepare, args), {}), output)
            process = process or start(environment, output)
            self._started.add(process)
            if self._closed:
                process.kill()
            return process

        return begin

    def _fork(self, call: Call, output: IO[bytes]) -> Process | None:
        ours, theirs = Pipe()
        with theirs, self._lock:
            if self._server is None or not self._server.is_idle:
                self._end()
                with suppress(OSError):
                    self._server = start(self._environment, forks=True)
            pid = self._ask(call, (theirs.fileno(), output.fileno()))
            server = self._server
        if server is None or not isinstance(pid, int):
            ours.close()
            return None
        return Process(ours, _Forked(pid, lambda: self._exit_code(pid, server)))

    def _exit_code(self, pid: int, server: Process) -> int | None:
        with self._lock:
            if self._server is server:
                code = self._ask((exit_code, (pid,), {}))
            return code if self._server is server else -signal.SIGKILL  # a child ends with its server

    def _ask(self, call: Call, passed: tuple[int, ...] = ()) -> Any:
        """Return what the server does, None where it raised or died; it is not started for this."""
        if self._server is None:
            return None
        timer = threading.Timer(_IMPORT_SECONDS, self._server.kill)
        timer.start()
        try:
            return self._server.ask(call, lambda told: tell(told.text), passed)[0]
        except NoAnswerError:
            self._end()
            return None
        except BaseException:  # nobody waits for the answer any more
            self._end()
            raise
        finally:
            timer.cancel()

    def _end(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()


class _Forked:
    """Stands for the `subprocess.Popen` of a process that the server started, and alone can wait for."""

    def __init__(self, pid: int, ask: Callable[[], int | None]) -> None:
        self.pid = pid
        self._ask = ask
        self._asking = threading.Lock()  # who ends it late and who waits for it: the server says a code once
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        with self._asking:
            if self._code is None:
                self._code = self._ask()
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            TimeoutExpired: it has not within so many seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(_POLL_SECONDS)
        return code


# -- in the server and its children --------------------------------------------------------------------------

_children: dict[int, BaseProcess] = {}  # of the server
_server: int | None = None  # of a child


def fork(environment: dict[str, str], prepare: Callable[..., str], args: tuple[Any, ...]) -> int | str:
    """Return the id of a new child, which serves one call on the pipe that was sent; or why there is none."""
    pipe, output = descriptors(2)
    try:
        if why_not := prepare(*args) or _threads():
            return why_not
        child = get_context("fork").Process(target=_begin, args=(pipe, output, environment, os.getpid()))
        child.start()
    finally:
        os.close(pipe)
        os.close(output)
    pid = child.pid or 0
    with suppress(OSError):  # as the child does: the group is there when we answer
        os.setpgid(pid, pid)
    _children[pid] = child
    return pid


def forked_from() -> int | None:
    """Return the id of the server that this process was forked from, None where it was not."""
    return _server


def exit_code(pid: int) -> int | None:
    """Return the exit code of a child, negative a signal's; None while it runs."""
    code = _children[pid].exitcode
    if code is not None:
        del _children[pid]
    return code


def _threads() -> str:
    """Return whether Python threads run, whose locks a child would find taken for ever.

    Threads of libraries are not Python's to see; those that an import of lerobot starts (OpenBLAS, jemalloc)
    are stopped for a fork by their own library.
    """
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    return f"threads run: {', '.join(others)}" if others else ""


def _begin(pipe: int, output: int, environment: dict[str, str], server: int) -> None:
    global _server  # noqa: PLW0603 - it is a fact about the process
    _server = server
    _children.clear()
    os.setpgid(0, 0)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    serve(pipe, server, once=True)
