"""Inside a worker process: it runs what its parent sends through a pipe, and does not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from actprof.errors import UsageError
from actprof.printable import log_to_stderr
from actprof.progress import Progress, say
from actprof.quiet import is_verbose

PROGRESS, RETURNED, RAISED = "progress", "returned", "raised"  # the kinds of message to the parent
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_SECONDS = 0.5
_to_parent: Connection | None = None


def in_worker() -> bool:
    """Return whether this process is a worker, which may die of what it does."""
    return _to_parent is not None


def tell(text: str) -> None:
    """Tell who waits for this worker what it is doing; in another process, who listens to this thread."""
    if _to_parent is None:
        say(text)
    else:
        _to_parent.send((PROGRESS, Progress(running=(text,))))


def descriptors(count: int) -> list[int]:
    """Return the open descriptors that the parent sent with the present call."""
    assert _to_parent is not None  # noqa: S101 - it is called in a worker
    with socket.fromfd(_to_parent.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as place:
        return socket.recv_fds(place, 1, count)[1]


def serve(descriptor: int, parent: int, *, once: bool = False, watches: bool = True) -> None:
    """Run what process `parent` sends through the connection `descriptor`, until it is gone.

    Args:
        descriptor: of the connection.
        parent: its process id.
        once: this is for one call. Any error that is not the user's then ends the process, with a traceback,
            and so does the end of the thread that waits, even while this hangs in C code.
        watches: a thread looks whether the parent is there, also during a call.
    """
    global _to_parent  # noqa: PLW0603 - it is a fact about the process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    log_to_stderr(verbose=is_verbose())
    if once and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if watches:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    _to_parent = Connection(descriptor)
    while True:
        try:
            call = _to_parent.recv()
        except EOFError:
            os._exit(0)  # libraries take their time to leave
        _to_parent.send(_outcome(call, once=once))


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _outcome(call: tuple[Any, tuple[Any, ...], dict[str, Any]], *, once: bool) -> tuple[str, Any]:
    function, args, kwargs = call
    try:
        return RETURNED, function(*args, **kwargs)
    except Exception as error:
        if once and not isinstance(error, UsageError):
            raise
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return RAISED, error
