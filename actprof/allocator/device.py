"""The device as the allocator sees it: how many bytes it gives out, at which addresses.

It keeps the reserved bytes, their peak, and (where asked for) a log of what was obtained and returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Where fresh segments lie decides ties between free blocks of one size up to torch 2.11. In recordings
# from Linux the next large segment lies below the last one in about two cases of three (in some runs
# always), under WSL above it. Placed downwards, all 55 native recordings with new segments reach the
# recorded peak of reserved bytes; placed upwards one of them misses it, by 392 MiB. The address ranges of
# expandable segments are reserved upwards.
_TOP_ADDRESS = 0x7F00_0000_0000
_BOTTOM_ADDRESS = 1 << 40
_RANGES_END = 1 << 46  # CUDA's own addresses on Linux lie above
_ALIGNMENT = 1 << 25
_ADDRESS_SPACE_BYTES = 1 << 42  # of an expandable segment, where the device's memory is not known


class Device:
    """A device of which `capacity_bytes` are still to be had (None = without limit).

    Args:
        capacity_bytes: what cudaMalloc can give out in all.
        total_bytes: the memory of the device, for the memory fraction; the capacity where it is not given.
        memory_fraction: caps the reserved bytes at this part of the total (setMemoryFraction). A fraction
            of 1 sets no cap, as in torch 2.11.
        place: gives the address of a fresh segment of so many bytes.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int | None,
        total_bytes: int | None,
        memory_fraction: float | None,
        place: Callable[[int], int] | None = None,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.total_bytes = capacity_bytes if total_bytes is None else total_bytes
        self.allowed_bytes: int | None = None
        if memory_fraction is not None and memory_fraction < 1.0 and self.total_bytes is not None:
            self.allowed_bytes = int(memory_fraction * self.total_bytes)
        self.reserved_bytes = 0
        self.peak_reserved_bytes = 0
        self.log: list[tuple[str, int, int]] | None = None
        self._place = place
        self._next_address = _TOP_ADDRESS
        self._next_range = _BOTTOM_ADDRESS

    def allows(self, segment_bytes: int) -> bool:
        """Return whether the memory fraction leaves room for a segment (first test of alloc_block)."""
        return self.allowed_bytes is None or self.reserved_bytes + segment_bytes <= self.allowed_bytes

    def has(self, size_bytes: int) -> bool:
        """Return whether cudaMalloc would succeed."""
        return self.capacity_bytes is None or self.reserved_bytes + size_bytes <= self.capacity_bytes

    def place(self, size_bytes: int) -> int:
        """Return the address of a fresh segment."""
        if self._place is not None:
            return self._place(size_bytes)
        self._next_address -= _spaced(size_bytes)
        return self._next_address

    def place_range(self, size_bytes: int) -> int:
        """Return the address of a fresh expandable segment."""
        if self._place is not None:
            return self._place(size_bytes)
        self._next_range += _spaced(size_bytes)
        return self._next_range - _spaced(size_bytes)

    def avoid(self, begin: int, end: int) -> None:
        """Place fresh segments beside the addresses from `begin` to `end`, which are taken."""
        self._next_address = min(self._next_address, begin & -_ALIGNMENT)
        if begin < _RANGES_END:
            self._next_range = max(self._next_range, (end + _ALIGNMENT) & -_ALIGNMENT)

    def address_space_bytes(self, page_bytes: int) -> int:
        """Return the size of an expandable segment: 1 1/8 of the device (ExpandableSegment's constructor)."""
        if self.total_bytes is None:
            return _ADDRESS_SPACE_BYTES // page_bytes * page_bytes
        return -(-(self.total_bytes + self.total_bytes // 8) // page_bytes) * page_bytes

    def obtain(self, event: str, address: int, size_bytes: int) -> None:
        """Book `size_bytes` that the device gave."""
        self.reserved_bytes += size_bytes
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        if self.log is not None:
            self.log.append((event, address, size_bytes))

    def give_back(self, event: str, address: int, size_bytes: int) -> None:
        """Book `size_bytes` that the device got back."""
        self.reserved_bytes -= size_bytes
        if self.log is not None:
            self.log.append((event, address, size_bytes))


def _spaced(size_bytes: int) -> int:
    """Round a size up so that segments never touch."""
    return (size_bytes + 2 * _ALIGNMENT - 1) & -_ALIGNMENT
