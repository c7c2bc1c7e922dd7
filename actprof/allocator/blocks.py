"""The pieces the allocator is made of: blocks, arenas of free blocks, and their plain records for reports.

A free block stands in the free list of its arena as one integer, its key:
`size << size_shift | tie << ADDRESS_BITS | address`. A sorted list of keys is then PyTorch's
`std::set<Block*, BlockComparatorSize>`, and `bisect` finds the best fit with its tie-break.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

from actprof.allocator.rounding import SMALL_SEGMENT_BYTES

ADDRESS_BITS = 64  # CUDA hands out 47; a replay without limit may ask for more than any device has
ADDRESS_MASK = (1 << ADDRESS_BITS) - 1
UNMAPPED = -1  # the key of a block without memory


class Block:
    """A range of one segment: in use (key 0), free (key above 0) or without memory (key UNMAPPED).

    `place` is the address below the tie-break, which is 0 up to torch 2.11: there the address decides ties.
    `requested` is set while the block is in use; `born` when it becomes free, for garbage collection.
    """

    __slots__ = ("arena", "born", "key", "next", "place", "prev", "requested", "size")

    born: int
    requested: int

    def __init__(  # noqa: PLR0913, PLR0917 - made for every split, keywords cost time
        self,
        size: int,
        place: int,
        arena: Arena,
        key: int = 0,
        prev: Block | None = None,
        next: Block | None = None,  # noqa: A002 - its name in PyTorch
    ) -> None:
        self.size = size
        self.place = place
        self.arena = arena
        self.key = key
        self.prev = prev
        self.next = next

    @property
    def address(self) -> int:
        """The address of the first byte."""
        return self.place & ADDRESS_MASK

    @property
    def is_split(self) -> bool:
        """Whether the block is only a part of its segment (Block::is_split)."""
        return self.prev is not None or self.next is not None

    def put_before(self, part: Block) -> None:
        """Make `part` the block before this one in its segment."""
        part.prev, part.next = self.prev, self
        if self.prev is not None:
            self.prev.next = part
        self.prev = part

    def put_behind(self, part: Block) -> None:
        """Make `part` the block behind this one in its segment."""
        part.prev, part.next = self, self.next
        if self.next is not None:
            self.next.prev = part
        self.next = part


class Arena:
    """The free blocks of one pool (small or large) and one stream; blocks never move to another."""

    __slots__ = ("free", "is_small", "page_bytes", "stream", "unmapped")

    def __init__(self, *, stream: int, is_small: bool, page_bytes: int) -> None:
        self.stream = stream
        self.is_small = is_small
        self.page_bytes = page_bytes  # what an expandable segment maps at once
        self.free: list[int] = []  # keys, ascending
        self.unmapped: list[int] = []  # addresses of blocks without memory, ascending


class Heap:
    """All blocks by address, all arenas by pool and stream, and the order of free blocks.

    The tie-break between free blocks of one size (BlockComparatorSize) is the address up to torch 2.11, the
    order in which the block objects were made in 2.12, and the order of the segments, then the address, from
    2.13 on (pytorch pull request 183591: splits and remaps inherit the counter of their segment).
    """

    def __init__(self, *, torch_version: tuple[int, int], large_page_bytes: int) -> None:
        self.blocks: dict[int, Block] = {}  # those that have memory
        self.unmapped: dict[int, Block] = {}  # those of expandable segments that have none
        self.small: dict[int, Arena] = {}  # stream -> arena
        self.large: dict[int, Arena] = {}
        self.page_bytes = {True: SMALL_SEGMENT_BYTES, False: large_page_bytes}
        self.ties_by_birth = torch_version == (2, 12)
        self._ties_by_segment = torch_version >= (2, 13)
        self.size_shift = ADDRESS_BITS * (2 if torch_version >= (2, 12) else 1)
        self._born = 0  # block objects or segments so far, whichever breaks ties

    def arena(self, stream: int, *, is_small: bool) -> Arena:
        """Return the arena of a stream, made at its first use."""
        arenas = self.small if is_small else self.large
        if stream not in arenas:
            arenas[stream] = Arena(stream=stream, is_small=is_small, page_bytes=self.page_bytes[is_small])
        return arenas[stream]

    def new_segment_place(self, address: int) -> int:
        """Return the place of the first block of a new segment."""
        if self.ties_by_birth or self._ties_by_segment:
            self._born += 1
            return self._born << ADDRESS_BITS | address
        return address

    def part_place(self, block: Block, address: int) -> int:
        """Return the place of a new block object at `address` in the segment of `block`."""
        if self.ties_by_birth:
            return self.new_segment_place(address)
        return block.place & ~ADDRESS_MASK | address

    def insert_free(self, block: Block) -> None:
        """Put a block that has memory among the free ones (BlockPool::insert_into_blocks)."""
        block.key = block.size << self.size_shift | block.place
        self.blocks[block.address] = block
        insort(block.arena.free, block.key)

    def remove_free(self, block: Block) -> None:
        """Take a free block out of the free list; it counts as in use until it is put back."""
        free = block.arena.free
        del free[bisect_left(free, block.key)]
        block.key = 0

    def drop_free(self, block: Block) -> None:
        """Take a free block out of the free list and out of the blocks that have memory."""
        self.remove_free(block)
        del self.blocks[block.address]

    def insert_unmapped(self, block: Block) -> None:
        """Put a block without memory among the others, by address."""
        block.key = UNMAPPED
        self.unmapped[block.address] = block
        insort(block.arena.unmapped, block.address)

    def remove_unmapped(self, block: Block) -> None:
        """Take a block out of those without memory."""
        unmapped = block.arena.unmapped
        del unmapped[bisect_left(unmapped, block.address)]
        del self.unmapped[block.address]
        block.key = 0

    def free_blocks(self, arenas: dict[int, Arena]) -> list[Block]:
        """Return the free blocks of a pool as PyTorch iterates over them: by stream, size, tie-break."""
        blocks = self.blocks
        return [blocks[key & ADDRESS_MASK] for stream in sorted(arenas) for key in arenas[stream].free]


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """One block of a snapshot; `state` is `allocated`, `pending` (its free is not completed) or `free`."""

    address: int
    size_bytes: int
    requested_bytes: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """One segment of a snapshot; of an expandable segment, one contiguous range that has memory."""

    address: int
    total_bytes: int
    stream: int
    pool: str
    is_expandable: bool
    blocks: tuple[BlockRecord, ...]
