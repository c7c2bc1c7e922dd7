"""When the smallest free block that is large enough is not the one to take.

Mirrors the rest of get_free_block (torch 2.6 to 2.11): blocks that can still grow are left for last, and
blocks of at least `max_split_size` are kept for requests of about their size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actprof.allocator.blocks import ADDRESS_MASK
from actprof.allocator.expandable import expandable_size

if TYPE_CHECKING:
    from actprof.allocator.blocks import Block


def leave_growing_block(blocks: dict[int, Block], free: list[int], index: int) -> int:
    """Return the index to take instead of a block that can grow: the next ones, while they can grow less."""
    block = blocks[free[index] & ADDRESS_MASK]
    after = block.next
    if after is None or after.key >= 0:
        return index
    room = expandable_size(block)
    while index + 1 < len(free):
        other = expandable_size(blocks[free[index + 1] & ADDRESS_MASK])
        if other >= room:
            break
        index, room = index + 1, other
    return index


def may_take(size: int, wanted: int, *, max_split: int, max_rounding: int) -> bool:
    """Return whether a block of `size` may serve a request of `wanted` bytes under max_split_size."""
    if wanted < max_split:
        return size < max_split
    return size < wanted + max_rounding
