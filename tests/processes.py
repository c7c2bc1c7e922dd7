"""What tests of processes ask: whether one runs, whether something comes true in time; and how one dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def is_alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> bool:
    """Return whether `condition` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def kill_oneself(*_args: Any) -> None:
    """Die as the kernel's out-of-memory killer makes one die."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def crash(*_args: Any) -> None:
    """Die as of a bad pointer in C code."""
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
