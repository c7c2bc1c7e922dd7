"""PyTorch's CUDA caching allocator over a device of so many bytes (DeviceCachingAllocator).

`malloc` and `free` take the decisions that PyTorch takes, so sizes, retries and the moment it runs out are
PyTorch's; addresses are its addresses up to the place of the segments. Every tensor of every training step
passes through the two, so they are written for speed: whole, in one class, with its rules in attributes. That
is why this file is longer than others; what is rarely called is in the files beside it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping

from actprof.allocator.blocks import ADDRESS_MASK, Arena, Block, Heap, SegmentRecord
from actprof.allocator.config import AllocatorConfig
from actprof.allocator.device_memory import DeviceMemory
from actprof.allocator.expandable import allocate_expandable, leave_growing_block
from actprof.allocator.release import collect_garbage, release_available, release_cached
from actprof.allocator.rounding import MIN_BLOCK_BYTES, SMALL_BYTES, round_size, segment_size
from actprof.allocator.state import restore_segments, take_snapshot
from actprof.errors import UsageError
from actprof.out_of_memory import OutOfMemoryError

_UNLIMITED = 1 << 62
_ROUND_MASK = -MIN_BLOCK_BYTES
_ROUND_UP = MIN_BLOCK_BYTES - 1


class CachingAllocator:
    """The allocator of one GPU and one process.

    Args:
        config: PYTORCH_CUDA_ALLOC_CONF, parsed; PyTorch's defaults where it is not given.
        capacity_bytes: what cudaMalloc can still give out in all (None = without limit).
        total_bytes: the memory of the device, for the memory fraction; the capacity where it is not given.
        torch_version: the release to imitate; it decides ties between free blocks of one size, and whether
            `throw_on_cudamalloc_oom` is known.
        place: gives the address of a fresh segment of so many bytes, for replaying a recording.

    Attributes:
        allocated_bytes: in use, in whole blocks (torch.cuda.memory_allocated).
        requested_bytes: what the program asked for of that.
        num_alloc_retries: how often the cache was released for another attempt.
        num_ooms: how often even that did not help.
    """

    def __init__(
        self,
        config: AllocatorConfig | None = None,
        *,
        capacity_bytes: int | None = None,
        total_bytes: int | None = None,
        torch_version: tuple[int, int] = (2, 11),
        place: Callable[[int], int] | None = None,
    ) -> None:
        self.config = config = AllocatorConfig() if config is None else config
        self.device = DeviceMemory(
            capacity_bytes=capacity_bytes, total_bytes=total_bytes, config=config, place=place
        )
        self._heap = Heap(torch_version=torch_version, large_page_bytes=config.large_segment_size_bytes)
        self.allocated_bytes = self.peak_allocated_bytes = 0
        self.requested_bytes = self.peak_requested_bytes = 0
        self.num_alloc_retries = self.num_ooms = 0
        self._pending: dict[int, Block] = {}  # free requested, not completed
        self._completed: list[int] = []  # addresses whose free a release completed, not the program
        self._rejects_early = config.rejects_early and torch_version >= (2, 12)
        self._set_rules(config)

    def _set_rules(self, config: AllocatorConfig) -> None:
        """Turn the settings into the tests that `malloc` and `free` make."""
        heap = self._heap
        self._blocks, self._small, self._large = heap.blocks, heap.small, heap.large
        self._size_shift, self._ties_by_birth = heap.size_shift, heap.ties_by_birth
        self._divisions = config.roundup_power2_divisions
        self._expandable = config.expandable_segments
        self._max_split = config.max_split_size_bytes or _UNLIMITED
        # should_split: the least rest of a large block, and the size from which on it is never split
        self._large_rest = MIN_BLOCK_BYTES if self._expandable else SMALL_BYTES + 1
        self._split_limit = _UNLIMITED if self._expandable else self._max_split
        self._takes_best_fit = not self._expandable and self._max_split == _UNLIMITED
        allowed = self.device.allowed_bytes
        self._collects = config.garbage_collection_threshold > 0 and allowed is not None
        self._keeps_bytes = int(config.garbage_collection_threshold * (allowed or 0))
        self._searches = {True: 0, False: 0}  # get_free_blocks_call_count of the small and large pool

    def malloc(self, size_bytes: int, stream: int = 0) -> int:
        """Return the address of a block for `size_bytes`; 0 bytes take no memory and have the address 0.

        Raises:
            OutOfMemoryError: the device has no memory left, even with the cache released.
        """
        if self._divisions:
            rounded = round_size(size_bytes, self._divisions) if size_bytes > 0 else size_bytes
        else:
            rounded = (size_bytes + _ROUND_UP) & _ROUND_MASK
        if rounded <= 0:
            return _no_memory(size_bytes)
        is_small = rounded <= SMALL_BYTES
        try:
            arena = self._small[stream] if is_small else self._large[stream]
        except KeyError:
            arena = self._heap.arena(stream, is_small=is_small)
        if self._collects:
            self._searches[is_small] += 1

        free = arena.free
        index = bisect_left(free, rounded << self._size_shift)
        if not self._takes_best_fit:
            index = self._choose(free, index, rounded)
        if index < len(free):
            block = self._blocks[free.pop(index) & ADDRESS_MASK]
            block.key = 0
        else:
            block = self._obtain(arena, rounded, size_bytes)

        rest = block.size - rounded
        if (
            rest
            and rest >= (MIN_BLOCK_BYTES if is_small else self._large_rest)
            and rounded < self._split_limit
        ):
            self._split(block, rounded, rest)
        block.requested = size_bytes

        self.allocated_bytes = allocated = self.allocated_bytes + block.size
        if allocated > self.peak_allocated_bytes:  # noqa: PLR1730 - max() costs a tenth of the rate
            self.peak_allocated_bytes = allocated
        self.requested_bytes = requested = self.requested_bytes + size_bytes
        if requested > self.peak_requested_bytes:  # noqa: PLR1730 - the same
            self.peak_requested_bytes = requested
        return block.place & ADDRESS_MASK

    def _split(self, block: Block, size: int, rest: int) -> None:
        """Keep `size` bytes of a block and put the others into the free list (alloc_found_block)."""
        place = block.place + size
        after = block.next
        key = rest << self._size_shift | place
        arena = block.arena
        block.next = tail = self._blocks[place & ADDRESS_MASK] = Block(rest, place, arena, key, block, after)
        if after is not None:
            after.prev = tail
        block.size = size
        insort(arena.free, key)
        if self._ties_by_birth:  # the rest keeps the block object, the block in use is a new one
            block.place = self._heap.part_place(block, block.address)

    def free(self, address: int) -> None:
        """Give back the block at `address`; its memory can be used at once.

        Raises:
            UsageError: no block in use starts there.
        """
        block = self._blocks.get(address)
        if block is None or block.key or (self._pending and address in self._pending):
            _check_null(address)
            return
        self.allocated_bytes -= block.size
        self.requested_bytes -= block.requested
        self._make_free(block, address)

    def _make_free(self, block: Block, address: int) -> None:
        """Merge a block with its free neighbours and put it into the free list (free_block)."""
        arena = block.arena
        free = arena.free
        after = block.next
        if after is not None and (key := after.key) > 0:
            del free[bisect_left(free, key)]
            del self._blocks[after.place & ADDRESS_MASK]
            block.size += after.size
            block.next = after = after.next
            if after is not None:
                after.prev = block
        before = block.prev
        if before is not None and (key := before.key) > 0:
            del free[bisect_left(free, key)]
            del self._blocks[address]
            before.size += block.size
            before.next = after
            if after is not None:
                after.prev = before
            if self._ties_by_birth:  # the object that was freed is the one that stays
                before.place = block.place & ~ADDRESS_MASK | before.place & ADDRESS_MASK
            block = before
        block.key = key = block.size << self._size_shift | block.place
        insort(free, key)
        if self._collects:
            block.born = self._searches[arena.is_small]

    def free_requested(self, address: int) -> None:
        """Begin to free a block that another stream may still use: it no longer counts as allocated.

        Raises:
            UsageError: no block in use starts there.
        """
        block = self._blocks.get(address)
        if block is None or block.key or address in self._pending:
            _check_null(address)
            return
        self.allocated_bytes -= block.size
        self._pending[address] = block

    def free_completed(self, address: int) -> None:
        """Finish what `free_requested` began: the memory can be used again.

        A release of the cache may have finished it already; then nothing is left to do.

        Raises:
            UsageError: no free was requested there.
        """
        if self._completed and address in self._completed:
            self._completed.remove(address)
            return
        block = self._pending.pop(address, None)
        if block is None:
            _check_null(address)
            return
        self.requested_bytes -= block.requested
        self._make_free(block, address)

    def _choose(self, free: list[int], index: int, rounded: int) -> int:
        """Return the index of the free block to take, or the length of the list (rest of get_free_block).

        Blocks of at least `max_split_size` are kept for requests of about their size.
        """
        if index == len(free):
            return index
        if self._expandable:
            index = leave_growing_block(self._blocks, free, index)
        size = self._blocks[free[index] & ADDRESS_MASK].size
        is_large = rounded >= self._max_split
        limit = rounded + self.config.max_non_split_rounding_bytes if is_large else self._max_split
        return index if size < limit else len(free)

    def can_reuse(self, size_bytes: int, stream: int = 0) -> bool:
        """Return whether `malloc` would find a free block, without new memory."""
        rounded = round_size(size_bytes, self._divisions)
        is_small = rounded <= SMALL_BYTES
        free = self._heap.arena(stream, is_small=is_small).free
        index = bisect_left(free, rounded << self._size_shift)
        if not self._takes_best_fit:
            index = self._choose(free, index, rounded)
        return index < len(free)

    def _obtain(self, arena: Arena, rounded: int, size_bytes: int) -> Block:
        """Return a block with new memory, after releasing cached memory where needed (malloc)."""
        heap, device = self._heap, self.device
        if self._collects and not self._expandable:
            searches = self._searches[False]
            collect_garbage(heap, device, searches=searches, threshold_bytes=self._keeps_bytes)
        segment_bytes = segment_size(rounded, self.config.large_segment_size_bytes)
        if self._rejects_early and not device.allows(segment_bytes):
            raise self._out_of_memory(size_bytes, rounded, segment_bytes)
        block = self._new_block(arena, rounded, segment_bytes)
        releases_some = self._max_split != _UNLIMITED and not self._expandable
        limit = self._max_split
        if block is None and releases_some and release_available(heap, device, arena, rounded, limit):
            block = self._new_block(arena, rounded, segment_bytes)
        if block is None:
            self.empty_cache()
            self.num_alloc_retries += 1
            block = self._new_block(arena, rounded, segment_bytes)
        if block is None:
            raise self._out_of_memory(size_bytes, rounded, segment_bytes)
        return block

    def _out_of_memory(self, size_bytes: int, rounded: int, segment_bytes: int) -> OutOfMemoryError:
        """Count and return the error of a request for which there is no memory."""
        self.num_ooms += 1
        return OutOfMemoryError(
            requested_bytes=size_bytes,
            rounded_bytes=rounded,
            segment_bytes=segment_bytes,
            allocated_bytes=self.allocated_bytes,
            reserved_bytes=self.device.reserved_bytes,
            allowed_bytes=self.device.allowed_bytes,
        )

    def _new_block(self, arena: Arena, rounded: int, segment_bytes: int) -> Block | None:
        """Return a block with new memory, or None where the device has none (alloc_block)."""
        device = self.device
        if not device.allows(segment_bytes):
            return None
        if self._expandable:
            return allocate_expandable(self._heap, device, arena, rounded)
        if not device.has(segment_bytes):
            return None
        address = device.place(segment_bytes)
        device.obtain("segment_alloc", address, segment_bytes)
        block = Block(segment_bytes, self._heap.new_segment_place(address), arena)
        self._blocks[address] = block
        return block

    def empty_cache(self) -> None:
        """Give all cached memory that can be given back to the device (torch.cuda.empty_cache)."""
        for address in list(self._pending):  # synchronize_and_free_events
            block = self._pending.pop(address)
            self.requested_bytes -= block.requested
            self._make_free(block, address)
            self._completed.append(address)
        release_cached(self._heap, self.device, expandable=self._expandable)

    def forget_range(self, address: int) -> None:
        """Forget an expandable segment that never got memory, so that it is placed anew when it is needed."""
        block = self._heap.unmapped.get(address)
        if block is not None and not block.is_split:
            self._heap.remove_unmapped(block)

    @property
    def reserved_bytes(self) -> int:
        """What the device gave, in use or cached (torch.cuda.memory_reserved)."""
        return self.device.reserved_bytes

    @property
    def peak_reserved_bytes(self) -> int:
        """The most that was reserved since the last `reset_peaks`."""
        return self.device.peak_reserved_bytes

    @property
    def inactive_split_bytes(self) -> int:
        """Free parts of segments of which other parts are in use: what a release cannot give back.

        PyTorch does not count those of expandable segments.
        """
        if self._expandable:
            return 0
        blocks = (block for pool in (self._small, self._large) for block in self._heap.free_blocks(pool))
        return sum(block.size for block in blocks if block.is_split)

    def reset_peaks(self) -> None:
        """Let the peaks start again from now (torch.cuda.reset_peak_memory_stats)."""
        self.peak_allocated_bytes = self.allocated_bytes
        self.peak_requested_bytes = self.requested_bytes
        self.device.peak_reserved_bytes = self.device.reserved_bytes

    def restore(
        self, segments: Iterable[SegmentRecord], begins: Mapping[tuple[int, str], int] | None = None
    ) -> None:
        """Put this allocator, which must be fresh, into the state that a snapshot shows; peaks start there.

        A snapshot does not show pages without memory before the first that has some; `begins` gives, by
        stream and pool, where such an expandable segment begins.

        Raises:
            UsageError: the allocator holds memory already.
        """
        if self._blocks:
            raise UsageError("only a fresh allocator can be put into another state")
        segments = tuple(segments)
        restore_segments(self._heap, self.device, segments, begins or {})
        for block in (block for segment in segments for block in segment.blocks if block.state != "free"):
            self.requested_bytes += block.requested_bytes
            if block.state == "pending":
                self._pending[block.address] = self._blocks[block.address]
            else:
                self.allocated_bytes += block.size_bytes
        self.reset_peaks()

    def snapshot(self) -> tuple[SegmentRecord, ...]:
        """Return all segments with their blocks, by address (torch.cuda.memory_snapshot)."""
        return take_snapshot(self._heap, self._pending, expandable=self._expandable)


def _no_memory(size_bytes: int) -> int:
    if size_bytes < 0:
        raise UsageError(f"cannot allocate {size_bytes} bytes; a size is at least 0")
    return 0


def _check_null(address: int) -> None:
    """Accept the address 0, which stands for no memory, and refuse any other."""
    if address:
        raise UsageError(f"no block in use starts at address {address:#x}; it may have been freed already")
