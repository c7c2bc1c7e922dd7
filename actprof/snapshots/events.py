"""What the allocator did, event by event, in columns: 29 bytes an event, however many there are.

`Events` behaves like a sequence of `Event`; loops that must be fast take its columns as lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

ACTIONS = (
    "alloc",
    "free_requested",
    "free_completed",
    "segment_alloc",
    "segment_free",
    "segment_map",
    "segment_unmap",
    "oom",
    "snapshot",
    "other",  # what a later PyTorch may record
)
ALLOC, FREE_REQUESTED, FREE_COMPLETED, OOM = (ACTIONS.index(name) for name in (*ACTIONS[:3], "oom"))
OBTAINED = ("segment_alloc", "segment_map")  # memory that the device gives
RETURNED = ("segment_free", "segment_unmap")  # memory that it gets back
NO_STACK = -1
COLUMN_TYPES = (np.uint8, np.int64, np.int64, np.int64, np.int32)  # of `Events`
_CHUNK = 1 << 15


class Event(NamedTuple):
    """One recorded event; of `oom`, `address` is the free memory and `size_bytes` the rounded request.

    Of allocations and frees the size is what was requested, of segments their size.
    """

    action: str
    address: int
    size_bytes: int
    stream: int
    stack: int = NO_STACK


@dataclass(frozen=True, slots=True, eq=False)
class Events(Sequence[Event]):
    """Events in order; all columns have the shape (events,).

    Attributes:
        action: index into `ACTIONS`.
        address, size_bytes, stream: as in `Event`.
        stack: index into the `Stacks` of the recording, or `NO_STACK`.
    """

    action: NDArray[np.uint8]
    address: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    stream: NDArray[np.int64]
    stack: NDArray[np.int32]

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Return the columns of single events."""
        rows = [(ACTIONS.index(row.action), *row[1:]) for row in events]
        columns = zip(*rows, strict=True) if rows else [()] * len(COLUMN_TYPES)
        typed = zip(columns, COLUMN_TYPES, strict=True)
        return cls(*(np.array(column, dtype=kind) for column, kind in typed))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """All columns, in the order of an event's fields."""
        return self.action, self.address, self.size_bytes, self.stream, self.stack

    def __len__(self) -> int:
        return len(self.action)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Events: ...

    def __getitem__(self, index: int | slice) -> Event | Events:
        if isinstance(index, slice):
            return Events(*(column[index] for column in self.columns))
        action, *rest = (column[index] for column in self.columns)
        return Event(ACTIONS[action], *map(int, rest))

    def __iter__(self) -> Iterator[Event]:
        for start in range(0, len(self), _CHUNK):
            yield from self._stretch(start)

    def __reversed__(self) -> Iterator[Event]:
        for start in reversed(range(0, len(self), _CHUNK)):
            yield from reversed(self._stretch(start))

    def _stretch(self, start: int) -> list[Event]:
        actions, *rest = (column[start : start + _CHUNK].tolist() for column in self.columns)
        names = [ACTIONS[action] for action in actions]
        return [Event(*row) for row in zip(names, *rest, strict=True)]

    def are(self, *actions: str) -> NDArray[np.bool_]:
        """Return which events have one of some actions, shape (events,)."""
        return np.isin(self.action, [ACTIONS.index(action) for action in actions])


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack."""

    filename: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.filename}:{self.line} {self.name}"


@dataclass(frozen=True, slots=True)
class Stacks:
    """The distinct stacks of a recording, innermost frame first, and the distinct frames in them."""

    frames: tuple[Frame, ...] = ()
    stacks: Sequence[tuple[int, ...]] = field(default=())

    def frames_of(self, stack: int) -> tuple[Frame, ...]:
        """Return the frames of a stack; none where none was recorded."""
        return () if stack == NO_STACK else tuple(self.frames[i] for i in self.stacks[stack])

    def asking_frame(self, stack: int) -> Frame | None:
        """Return the innermost frame that is the user's Python: not of torch, and not C++.

        Where all frames belong to torch, the innermost Python frame.
        """
        frames = [f for f in self.frames_of(stack) if f.filename.endswith(".py") or "<" in f.filename]
        own = (frame for frame in frames if "/torch/" not in frame.filename.replace("\\", "/"))
        return next(own, next(iter(frames), None))
