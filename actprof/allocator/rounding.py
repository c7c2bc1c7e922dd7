"""How PyTorch rounds a request: to a block size, and to the size of a new segment.

The constants are those of c10/core/AllocatorConfig.h; they hold for torch 2.1 to 2.11 (`kLargeBuffer` of the
releases before 2.11 is their setting `large_segment_size_mb` now, with the same default).
"""

from __future__ import annotations

from collections.abc import Sequence

from actprof.units import GIB, MIB

MIN_BLOCK_BYTES = 512  # kMinBlockSize: every block is a multiple of it
SMALL_BYTES = 1 * MIB  # kSmallSize: the largest block of the small pool
SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer: a segment, or a page, of the small pool
LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer: a segment of the large pool for a request below 10 MiB
MIN_LARGE_ALLOC_BYTES = 10 * MIB  # kMinLargeAlloc: from here on a request gets a segment of its own size
ROUND_LARGE_BYTES = 2 * MIB  # kRoundLarge: ... rounded up to this

# kRoundUpPowerOfTwoIntervals: one setting of `roundup_power2_divisions` for each power of two,
# the first for all below 2 MiB, the last for all from 32 GiB on.
ROUNDUP_INTERVALS = 16
_ROUNDUP_START = MIB.bit_length() - 1
assert (64 * GIB).bit_length() - 1 - _ROUNDUP_START == ROUNDUP_INTERVALS  # noqa: S101 - the table spans 1 MiB to 64 GiB


def round_size(size_bytes: int, divisions: Sequence[int] = ()) -> int:
    """Return the block size for a request of `size_bytes` (DeviceCachingAllocator::round_size).

    Args:
        size_bytes: what the program asked for, at least one byte.
        divisions: `roundup_power2_divisions` per interval, or nothing where it is not set.
    """
    if size_bytes < MIN_BLOCK_BYTES:
        return MIN_BLOCK_BYTES
    if divisions:
        parts = divisions[_interval(size_bytes)]
        if parts > 1 and size_bytes > MIN_BLOCK_BYTES * parts:
            return _next_division(size_bytes, parts)
    return (size_bytes + MIN_BLOCK_BYTES - 1) & -MIN_BLOCK_BYTES


def segment_size(block_bytes: int, large_segment_bytes: int = LARGE_SEGMENT_BYTES) -> int:
    """Return what is asked of the device for a block of `block_bytes` (get_allocation_size)."""
    if block_bytes <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if block_bytes < MIN_LARGE_ALLOC_BYTES:
        return large_segment_bytes
    return (block_bytes + ROUND_LARGE_BYTES - 1) & -ROUND_LARGE_BYTES


def _interval(size_bytes: int) -> int:
    """Return the index of the power of two that `size_bytes` falls in (roundup_power2_divisions)."""
    index = size_bytes.bit_length() - 1 - _ROUNDUP_START
    return min(max(index, 0), ROUNDUP_INTERVALS - 1)


def _next_division(size_bytes: int, parts: int) -> int:
    """Round up to a step of 1/`parts` between two powers of two (roundup_power2_next_division)."""
    floor = 1 << (size_bytes.bit_length() - 1)
    step = floor >> (parts.bit_length() - 1)
    return (size_bytes + step - 1) & -step
