"""How far a piece of work is: told to whoever listens, before and after every task.

Who begins long work is handed a listener. What is only sometimes long, as a trace is, tells whoever listens
to this thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is: tasks in all (0 where nobody knows), done, and what is running."""

    total: int = 0
    done: int = 0
    running: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is running, in a line."""
        return ", ".join(self.running)


Listener = Callable[[Progress], None]


def nobody(_progress: Progress) -> None:
    """Listen to nothing."""


_listening: ContextVar[Listener] = ContextVar("listening", default=nobody)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Inside, `listener` is told what work in this thread says that it is doing."""
    token = _listening.set(listener)
    try:
        yield
    finally:
        _listening.reset(token)


def say(text: str) -> None:
    """Tell whoever listens to this thread what is being done; no text: it is over."""
    _listening.get()(Progress(running=(text,) if text else ()))
