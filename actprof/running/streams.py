"""Where a command prints, and which process group the terminal listens to. Nothing here is for Windows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Channel:
    """Where the command prints: its end, ours, and where that goes."""

    theirs: int
    ours: int
    target: int
    is_terminal: bool

    def copy_size(self) -> None:
        """Give the command's terminal the size of ours."""
        import termios

        with suppress(termios.error):
            termios.tcsetwinsize(self.ours, termios.tcgetwinsize(self.target))


def open_channels() -> Iterator[tuple[int, Channel]]:
    """Yield stdout and stderr with the channel of each; the same one where they go to the same place."""
    known: dict[tuple[int, ...], Channel] = {}
    for target in (1, 2):
        with suppress(OSError):  # it is closed
            place = os.fstat(target)
            key = (place.st_dev, place.st_ino, place.st_rdev)
            if key not in known:
                known[key] = _open(target)
            yield target, known[key]


def _open(target: int) -> Channel:
    if not os.isatty(target):
        ours, theirs = os.pipe()
        return Channel(theirs=theirs, ours=ours, target=target, is_terminal=False)
    import termios

    ours, theirs = os.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST  # our own terminal turns a line's end into what it wants
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    channel = Channel(theirs=theirs, ours=ours, target=target, is_terminal=True)
    channel.copy_size()
    return channel


def lend_terminal(group: int, *, of: int) -> bool:
    """Put a process group in front at the terminal, where ours or `of` is in front; tell whether it is."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        ours = os.tcgetpgrp(terminal) in (os.getpgrp(), of)
        if ours:
            os.tcsetpgrp(terminal, group)
    except OSError:
        return False
    else:
        return ours
    finally:
        os.close(terminal)
