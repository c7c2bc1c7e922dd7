"""What stands for the values of a pickle while it is read."""

from __future__ import annotations

from typing import Any

HOW_TO_RECORD = (
    "record a run with torch.cuda.memory._record_memory_history(max_entries=1_000_000) before it and "
    'torch.cuda.memory._dump_snapshot("snapshot.pickle") after it'
)


class Marker:
    """Stands in the place of a value that is kept elsewhere, under a number."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Items(list[Any]):
    """A list that knows its place in the memo; `dropped` counts items that stand for nothing any more."""

    __slots__ = ("dropped", "place")

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.place = -1


class Values(dict[str, Any]):
    """A dict that knows its place in the memo."""

    __slots__ = ("place",)

    def __init__(self) -> None:
        super().__init__()
        self.place = -1


DROPPED = Marker(-1)  # what stands for a dict that is wholly kept elsewhere
