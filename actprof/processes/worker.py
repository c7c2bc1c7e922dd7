"""A process that runs one call after another and may die of it: then the caller gets an error, and lives.

It is a fresh interpreter that knows our `sys.path` and nothing of our `__main__`, so a script needs no guard.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from actprof.errors import DiedError
from actprof.processes.lifetime import end_after_parent, how_it_ended
from actprof.quiet import is_verbose

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10.0  # a process that has closed its end of the pipe may take a moment to be gone
_serving = False


def in_worker() -> bool:
    """Return whether this process is a worker, which may die of what it does."""
    return _serving


class Worker:
    """One process, started at the first call, and again at the first call after it died.

    It ends with this process, and is not told of Ctrl-C: who waits for a call then ends it.

    Args:
        environment: variables that it gets where we have none of the name.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment or {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._closed = False

    def call[**P, T](self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns there, or raise what it raises; all of that pickles.

        Raises:
            DiedError: the process ended instead; says how.
        """
        with self._lock:
            try:
                process, pipe = self._start()
                pipe.send((function, args, kwargs))
                returned, value = _receive(process, pipe)
            except (EOFError, ConnectionError) as error:  # the process is gone
                code = self._end(_GRACE_SECONDS)
                raise DiedError(f"the process that worked on it {how_it_ended(code)}") from error
            except BaseException:  # nobody waits for the answer any more
                self._end()
                raise
        if returned:
            return value  # type: ignore[no-any-return]
        raise value

    def close(self) -> None:
        """End the process, and any that a call still starts; a call that waits raises `DiedError`."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
            process.wait()

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        if self._process is not None and self._pipe is not None:
            if self._process.poll() is None and not self._pipe.poll():  # who is idle says nothing
                return self._process, self._pipe
            self._end()
        self._pipe, theirs = Pipe()
        path = [os.fspath(folder) for folder in sys.path]
        program = (
            f"import sys; sys.path[:] = {path!r}; from actprof.processes.worker import serve; "
            f"serve({theirs.fileno()}, {os.getpid()})"
        )
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", program], env={**self._environment, **os.environ},
                    stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise DiedError(f"no process can be started ({error.strerror or error})") from error
        if self._closed:  # `close` saw no process yet
            self._process.kill()
        return self._process, self._pipe

    def _end(self, grace: float = 0) -> int:
        """End the process, if it does not do so within `grace` seconds, and return its exit code."""
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if pipe is not None:
            pipe.close()
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        process.kill()
        return process.wait()


def _receive(process: subprocess.Popen[bytes], pipe: Connection) -> Any:
    """Return the next message; the end of the pipe is not waited for, as others may hold it open."""
    while not pipe.poll(_POLL_SECONDS):
        if process.poll() is not None and not pipe.poll():
            raise EOFError
    return pipe.recv()


def serve(descriptor: int, parent: int) -> None:
    """Run what process `parent` sends through the connection `descriptor`, until it is gone."""
    global _serving  # noqa: PLW0603 - it is a fact about the process
    _serving = True
    level = logging.INFO if is_verbose() else logging.WARNING
    logging.basicConfig(level=level, format="actprof: %(message)s")
    end_after_parent(parent)
    with Connection(descriptor) as pipe:
        while True:
            try:
                function, args, kwargs = pipe.recv()
            except EOFError:
                os._exit(0)  # libraries take their time to leave
            pipe.send(_outcome(function, args, kwargs))


def _outcome(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - it is raised where the call was made
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return False, error
