"""How far a piece of work is: told to whoever listens, after every task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: tasks in all, done, and what is running."""

    total: int
    done: int
    running: tuple[str, ...]


Listener = Callable[[Progress], None]
