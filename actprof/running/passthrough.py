"""A command run as if nobody stood before it: its terminal, signals and exit code; what it prints is heard.

stdin stays as it is. What goes to stdout and stderr is passed on byte by byte: through a pseudo terminal
where ours is a terminal, so that the command sees one, else through a pipe; through one and the same where
both of ours go to one place, so that their order stays.

The command has a process group of its own: a signal to us reaches all of it, a terminal's Ctrl-C and Ctrl-Z
among them, and what is left of it is ended with it. A command that asks the terminal something gets the
terminal when the kernel stops it for that (SIGTTIN, SIGTTOU). If we are killed, Linux tells it SIGTERM.
Windows has a pipe for stderr, and no more.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from actprof.errors import UsageError
from actprof.running.streams import Channel, lend_terminal, open_channels

_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_TICK_SECONDS = 0.2
_PIECE = 1 << 16
_GRACE_SECONDS = 10.0  # for what the command leaves behind to end by itself; then SIGTERM ...
_KILL_SECONDS = 3.0  # ... and after so long SIGKILL
_DRAIN_SECONDS = 0.05
_KIBIBYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
_FRESH_LINE = b"\r\x1b[2K"  # where a progress bar stands


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, 128 + n after signal n; the most memory that one process held."""

    code: int
    resident_bytes: int = 0


class Passthrough:
    """One command, and our own lines among those that it prints."""

    def __init__(self) -> None:
        self._hear: Callable[[int, bytes], None] = lambda *_: None
        self._pid: int | None = None
        self._has_terminal = False
        self._channels: list[Channel] = []
        self._early: list[int] = []  # signals that came before the command
        self._at_line_start = True
        self._messages = 2  # where what stands before our own lines is printed

    @property
    def pid(self) -> int | None:
        """The command's process; None before it has started."""
        return self._pid

    @property
    def _group(self) -> int:
        """The command's process group, which has the number of its first process."""
        return self._pid or 0

    def say(self, text: str) -> None:
        """Print a line of our own on stderr, in place of a progress bar that stands there."""
        begin = b"" if self._at_line_start else _FRESH_LINE if os.isatty(2) else b"\n"
        self._write(2, begin + text.encode(errors="replace") + b"\n")

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], hear: Callable[[int, bytes], None]
    ) -> Ended:
        """Run the command to its end; `hear` is told each piece that it prints, and where that goes (1, 2).

        Raises:
            UsageError: it cannot be started.
        """
        self._hear = hear
        sys.stdout.flush()
        sys.stderr.flush()
        run = self._run_plainly if os.name == "nt" else self._run_in_group
        try:
            return run(words, environment)
        except OSError as error:
            if self._pid is not None:
                raise
            reason = error.strerror or error
            raise UsageError(f"{words[0]} cannot be started ({reason}); see that it is installed") from error

    def _run_plainly(self, words: Sequence[str], environment: Mapping[str, str]) -> Ended:
        former = signal.signal(signal.SIGINT, lambda *_: None)  # the console tells the command as well
        try:
            with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, bufsize=0) as popen:
                self._pid = popen.pid
                while popen.stderr is not None and (piece := popen.stderr.read(_PIECE)):
                    self._forward(2, piece)
            return Ended(popen.returncode)
        finally:
            signal.signal(signal.SIGINT, former)

    # -- with process groups -------------------------------------------------------------------------------

    def _run_in_group(self, words: Sequence[str], environment: Mapping[str, str]) -> Ended:
        ends = dict(open_channels())
        self._channels = list({id(channel): channel for channel in ends.values()}.values())
        self._messages = ends[2].target if 2 in ends else 2
        theirs = {descriptor: channel.theirs for descriptor, channel in ends.items()}
        with self._signals():
            try:
                popen = subprocess.Popen(
                    words, env=environment, stdout=theirs.get(1), stderr=theirs.get(2), process_group=0,
                    preexec_fn=_end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509 - one call
                )  # fmt: skip
                self._pid = popen.pid
                for number in self._early:
                    self._pass_on(number)
            finally:
                for channel in self._channels:
                    os.close(channel.theirs)
                    if self._pid is None:
                        os.close(channel.ours)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # our lines may come while the terminal is lent
            ended = self._attend()
            popen.returncode = ended.code  # it is reaped
            if self._has_terminal:
                lend_terminal(os.getpgrp(), of=self._group)
        return ended

    def _attend(self) -> Ended:
        """Pass on what is printed until the command and what it started are gone."""
        ended: Ended | None = None
        give_up = float("inf")
        with selectors.DefaultSelector() as selector:
            for channel in self._channels:
                selector.register(channel.ours, selectors.EVENT_READ, channel)
            try:
                while ended is None or not self._is_gone():
                    self._pass_pieces(selector, _TICK_SECONDS)
                    if ended is None:
                        ended = self._reap()
                        give_up = time.monotonic() + _GRACE_SECONDS
                    elif time.monotonic() > give_up + 2 * _KILL_SECONDS:
                        break  # of another user, or in the kernel's hands
                    elif time.monotonic() > give_up:
                        late = time.monotonic() > give_up + _KILL_SECONDS
                        self._pass_on(signal.SIGKILL if late else signal.SIGTERM)
                while self._pass_pieces(selector, _DRAIN_SECONDS):
                    pass
            finally:
                for key in list(selector.get_map().values()):
                    os.close(key.fd)
        return ended or Ended(0)

    def _pass_pieces(self, selector: selectors.BaseSelector, seconds: float) -> bool:
        """Pass on what is there within so many seconds; tell whether anything was."""
        if not selector.get_map():
            time.sleep(seconds)
            return False
        found = False
        for key, _ in selector.select(seconds):
            try:
                piece = os.read(key.fd, _PIECE)
            except OSError:  # how Linux tells the end of a pseudo terminal
                piece = b""
            if piece and self._forward(key.data.target, piece):
                found = True
            else:  # nobody prints there any more, or nobody reads what we print: the command is to know
                selector.unregister(key.fd)
                os.close(key.fd)
        return found

    def _forward(self, target: int, piece: bytes) -> bool:
        done = self._write(target, piece)
        self._hear(target, piece)
        return done

    def _write(self, target: int, data: bytes) -> bool:
        if target in (2, self._messages):
            self._at_line_start = data.endswith(b"\n")
        try:
            while data:
                data = data[os.write(target, data) :]
        except OSError:
            return False
        return True

    def _reap(self) -> Ended | None:
        """Return how the command ended; None while it has not. A stop that is for a terminal is answered."""
        pid, status, usage = os.wait4(self._group, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return None
        if os.WIFSTOPPED(status):
            self._stopped(os.WSTOPSIG(status))
            return None
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return Ended(code, usage.ru_maxrss * _KIBIBYTES)

    def _is_gone(self) -> bool:
        try:
            os.killpg(self._group, 0)
        except OSError:
            return True
        return False

    # -- signals and the terminal --------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass signals on; those that are ignored stay so (nohup), and only the main thread is told any."""
        former: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            handlers: dict[str, Callable[..., None]] = {
                **dict.fromkeys(_PASSED_ON, lambda number, _frame: self._pass_on(number)),
                "SIGTSTP": lambda number, _frame: self._suspend(number),
                "SIGWINCH": lambda *_: self._resized(),
            }
            for name, handler in handlers.items():
                number = signal.Signals[name]
                if signal.getsignal(number) is not signal.SIG_IGN:
                    former[number] = signal.signal(number, handler)
            former[signal.SIGTTOU] = signal.getsignal(signal.SIGTTOU)
        try:
            yield
        finally:
            for told, before in former.items():
                signal.signal(told, before)

    def _pass_on(self, number: int) -> None:
        if self._pid is None:
            self._early.append(number)
            return
        with suppress(OSError):  # it is gone, or another user's
            os.killpg(self._pid, number)

    def _resized(self) -> None:
        for channel in self._channels:
            if channel.is_terminal:
                channel.copy_size()
        self._pass_on(signal.SIGWINCH)

    def _suspend(self, number: int) -> None:
        """Stop with the command, as a shell's job does, and go on with it."""
        self._pass_on(number)
        former = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # here we stand still until somebody says SIGCONT
        signal.signal(number, former)
        if self._has_terminal:
            lend_terminal(self._group, of=self._group)
        self._pass_on(signal.SIGCONT)

    def _stopped(self, number: int) -> None:
        """Answer that the command was stopped: it wants the terminal, or was told so by the one it has."""
        if number in (signal.SIGTTIN, signal.SIGTTOU):
            self._has_terminal = lend_terminal(self._group, of=self._group)
            if self._has_terminal:
                self._pass_on(signal.SIGCONT)
            else:
                self._suspend(signal.SIGTTIN)  # a job in the background waits until it is in front
        elif number == signal.SIGTSTP and self._has_terminal:
            lend_terminal(os.getpgrp(), of=self._group)
            self._suspend(number)


def _end_with_parent() -> Callable[[], None]:
    """Return what has the kernel say SIGTERM to a process when the one that started it is gone."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # found here: between fork and exec nothing may be imported
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    return lambda: prctl(set_parent_death_signal, int(signal.SIGTERM))
