"""The device's memory as the allocator sees it: how many bytes it gives out, and at which addresses.

It keeps the reserved bytes, their peak, and (where asked for) a log of what was obtained and returned.
"""

from __future__ import annotations

from collections.abc import Callable

from actprof.allocator.config import AllocatorConfig
from actprof.units import MIB, ceil_div

# Where fresh segments lie decides ties between free blocks of one size up to torch 2.11. In recordings
# from Linux the next large segment lies below the last one in about two cases of three (in some runs
# always), under WSL above it. Placed downwards, all 55 native recordings with new segments reach the
# recorded peak of reserved bytes; placed upwards one of them misses it, by 392 MiB. The address ranges of
# expandable segments are reserved upwards. CUDA's own addresses end at 1 << 47, and what a run takes without
# limit may be more.
_TOP_ADDRESS = 1 << 62
_BOTTOM_ADDRESS = 1 << 40
_RANGES_END = 1 << 46  # CUDA's own addresses on Linux lie above
_ALIGNMENT = 1 << 25
_ADDRESS_SPACE_BYTES = 1 << 60  # of an expandable segment, where the device's memory is not known

_PIECE_BYTES = 32 * MIB
_HOLE_BYTES = (416 - 64) * MIB


class DeviceMemory:
    """The memory of a device, as the arguments of `CachingAllocator` describe it.

    The memory fraction of `config` caps the reserved bytes at a part of the total (setMemoryFraction).
    """

    def __init__(
        self,
        *,
        capacity_bytes: int | None,
        total_bytes: int | None,
        config: AllocatorConfig,
        place: Callable[[int], int] | None = None,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.total_bytes = capacity_bytes if total_bytes is None else total_bytes
        self.allowed_bytes = None if self.total_bytes is None else config.allowed_bytes(self.total_bytes)
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
        return ceil_div(self.total_bytes + self.total_bytes // 8, page_bytes) * page_bytes

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


class DriverAddresses:
    """At which addresses the CUDA driver puts new segments of a training process, one after another.

    Call it with a segment's bytes. Read off the recordings of one H100 (driver 580): room is taken in pieces
    of 32 MiB, each below the last; what a segment leaves of its piece is filled first, the newest piece
    before older ones; and when the first kernels are loaded the driver leaves a hole, of 416 MiB less the 64
    that cuBLAS takes of it, which is filled from below.
    """

    def __init__(self) -> None:
        self._lowest = _TOP_ADDRESS
        self._holes: list[tuple[int, int]] = []  # (address, bytes), those that are filled first in front

    def load_kernels(self) -> None:
        """Note that the first kernels are loaded: from now on there is the hole that this leaves."""
        self._lowest -= _HOLE_BYTES
        self._holes.append((self._lowest, _HOLE_BYTES))

    def __call__(self, size_bytes: int) -> int:
        """Return the address of a new segment of `size_bytes`."""
        for index, (address, room) in enumerate(self._holes):
            if size_bytes <= room:
                self._holes[index] = address + size_bytes, room - size_bytes
                return address
        pieces = ceil_div(size_bytes, _PIECE_BYTES) * _PIECE_BYTES
        self._lowest -= pieces
        self._holes.insert(0, (self._lowest + size_bytes, pieces - size_bytes))
        return self._lowest
