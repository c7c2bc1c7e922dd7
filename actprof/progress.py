"""How far a piece of work is: told to whoever listens, before and after every task."""

from __future__ import annotations

from collections.abc import Callable
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
