"""One trap: what a command's author may not expect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trap:
    """A name for scripts; what happens, and what to do; whether lerobot stops there before the first step."""

    name: str
    text: str
    stops: bool = False
