"""Processes that must not outlive the one that started them, and how a process ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_SECONDS = 0.5


def end_with_parent(parent: int) -> None:
    """End this process as soon as process `parent`, which started it, is gone, however that ends.

    On Linux the kernel does it, even to a process that hangs in C code; elsewhere a thread looks.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked
        os._exit(1)
    end_after_parent(parent)


def end_after_parent(parent: int) -> None:
    """End this process within a second of process `parent`, which started it.

    The kernel, asked by `end_with_parent`, ends it with the thread that started it.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def how_it_ended(code: int) -> str:
    """Return what became of a process by its exit code: `was killed by SIGSEGV`, `ended with exit code 1`."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (the machine may have run out of memory)" if code == -signal.SIGKILL else ""
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}{hint}"
    return f"was killed by signal {-code}"
