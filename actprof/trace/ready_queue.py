"""The queue of the autograd engine, moved exactly as C++ moves it: ties decide the order of leaves."""

from __future__ import annotations

from typing import Generic, TypeVar

_Entry = TypeVar("_Entry")


class ReadyQueue(Generic[_Entry]):
    """The engine's queue, which pops the entry of highest priority: `std::priority_queue`, ties and all.

    All leaves have the same priority, so which of them comes first is decided by how the heap moves its
    entries. Python's `heapq` moves them otherwise; this one moves them as `std::push_heap` and
    `std::pop_heap` do (a sift of the hole to the bottom, then up), which every common C++ library does alike.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, _Entry]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, priority: int, item: _Entry) -> None:
        """Add an entry."""
        self._heap.append((priority, item))
        self._sift_up(len(self._heap) - 1, (priority, item))

    def pop(self) -> _Entry:
        """Remove and return the item of highest priority."""
        top = self._heap[0]
        last = self._heap.pop()
        if self._heap:
            self._sift_up(self._sink_hole(), last)
        return top[1]

    def _sink_hole(self) -> int:
        """Move the hole at the top down along the larger children; return where it ends."""
        heap, hole = self._heap, 0
        size = len(heap)
        while 2 * hole + 2 < size:
            child = 2 * hole + 2
            if heap[child][0] < heap[child - 1][0]:
                child -= 1
            heap[hole] = heap[child]
            hole = child
        if 2 * hole + 1 < size:
            heap[hole] = heap[2 * hole + 1]
            hole = 2 * hole + 1
        return hole

    def _sift_up(self, hole: int, entry: tuple[int, _Entry]) -> None:
        heap = self._heap
        while hole and heap[(hole - 1) // 2][0] < entry[0]:
            heap[hole] = heap[(hole - 1) // 2]
            hole = (hole - 1) // 2
        heap[hole] = entry
