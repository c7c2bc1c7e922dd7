"""The rules of the native allocator, each on a case small enough to work out by hand."""

from __future__ import annotations

import contextlib

import pytest

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.errors import UsageError
from actprof.out_of_memory import OutOfMemoryError, out_of_memory_message

KIB, MIB, GIB = 1024, 1024**2, 1024**3
MB_20 = 20 * MIB


def make(text="", **options):
    return CachingAllocator(AllocatorConfig.parse(text), **options)


def shape(allocator):
    """Return each segment as (its bytes, its blocks as +bytes in use, -bytes free), in order of obtaining."""
    newest_lowest = reversed(allocator.snapshot())
    return [
        (s.total_bytes, [b.size_bytes if b.state != "free" else -b.size_bytes for b in s.blocks])
        for s in newest_lowest
    ]


def upwards(start=1 << 40):
    """Return a placement that hands out rising addresses."""

    def place(size):
        nonlocal start
        start += 1 << 36
        return start

    return place


@pytest.mark.parametrize(
    ("size", "block"),
    [(1, 512), (511, 512), (512, 512), (513, 1024), (100_000, 100_352), (MIB, MIB), (MIB - 1, MIB)],
)
def test_sizes_round_to_512_bytes(size, block):
    """A request takes the next multiple of 512 bytes, at least one."""
    allocator = make()
    allocator.malloc(size)
    assert block == allocator.allocated_bytes
    assert size == allocator.requested_bytes


def test_no_bytes_take_no_memory():
    """Zero bytes have the address 0 and may be freed."""
    allocator = make()
    assert allocator.malloc(0) == 0
    allocator.free(0)
    assert allocator.reserved_bytes == 0


@pytest.mark.parametrize("text", ["", "roundup_power2_divisions:4"])
def test_a_negative_size_is_an_error(text):
    """The error names the size."""
    with pytest.raises(UsageError, match="-5 bytes"):
        make(text).malloc(-5)


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB - 100, 2 * MIB),  # the pool is chosen on the rounded size: 1 MiB is small
        (MIB + 1, MB_20),
        (10 * MIB - 512, MB_20),
        (10 * MIB - 511, 10 * MIB),  # rounds to 10 MiB, and from there on a segment has the request's size
        (10 * MIB, 10 * MIB),
        (10 * MIB + 1, 12 * MIB),
        (75 * MIB + 256 * KIB, 76 * MIB),
    ],
)
def test_segment_sizes(size, segment):
    """Small requests get 2 MiB, those below 10 MiB get 20, others the next multiple of 2 MiB."""
    allocator = make()
    allocator.malloc(size)
    assert segment == allocator.reserved_bytes


def test_large_segment_size_is_a_setting():
    """`large_segment_size_mb` replaces the 20 MiB."""
    allocator = make("large_segment_size_mb:32")
    allocator.malloc(2 * MIB)
    assert allocator.reserved_bytes == 32 * MIB


def test_a_rest_of_exactly_1_mib_is_not_split():
    """A large block is split only if more than 1 MiB is left; else it counts whole as allocated."""
    allocator = make()
    allocator.malloc(19 * MIB)
    assert shape(allocator) == [(MB_20, [MB_20])]
    assert allocator.allocated_bytes == MB_20
    assert allocator.requested_bytes == 19 * MIB


def test_a_rest_of_more_than_1_mib_is_split():
    """512 bytes more are left, so the rest becomes a free block."""
    allocator = make()
    allocator.malloc(10 * MIB + 1)
    allocator.free(allocator.malloc(MB_20))
    allocator.malloc(19 * MIB - 512)
    rest = MIB + 512
    assert shape(allocator) == [
        (12 * MIB, [10 * MIB + 512, -(2 * MIB - 512)]),
        (MB_20, [19 * MIB - 512, -rest]),
    ]


def test_small_blocks_split_to_the_last_512_bytes():
    """In the small pool any rest of at least 512 bytes becomes a free block."""
    allocator = make()
    allocator.malloc(MIB)
    allocator.malloc(MIB - 512)
    assert shape(allocator) == [(2 * MIB, [MIB, MIB - 512, -512])]


def test_best_fit_takes_the_smallest_block():
    """Of two free blocks that are large enough the smaller is taken, wherever it lies."""
    allocator = make()
    large, _, small, _ = (allocator.malloc(mib * MIB) for mib in (6, 2, 4, 2))
    allocator.free(large)
    allocator.free(small)
    assert small == allocator.malloc(3 * MIB)


def test_ties_fall_by_address_up_to_2_11():
    """Of two free blocks of one size the one at the lower address is taken, though it was made later."""
    allocator = make(torch_version=(2, 11))  # fresh segments lie below the older ones
    first, second = allocator.malloc(MB_20), allocator.malloc(MB_20)
    assert second < first
    for address in (first, second):
        allocator.free(address)
    assert second == allocator.malloc(MB_20)


@pytest.mark.parametrize("version", [(2, 12), (2, 13)])
def test_ties_fall_by_age_from_2_12(version):
    """Of two free segments of one size the older is taken, though it lies at the higher address."""
    allocator = make(torch_version=version)
    first, second = allocator.malloc(MB_20), allocator.malloc(MB_20)
    for address in (first, second):
        allocator.free(address)
    assert first == allocator.malloc(MB_20)


def test_ties_by_creation_and_by_segment_differ():
    """In 2.12 a block that was split off again is younger; in 2.13 its segment decides."""
    for version, expected in (((2, 12), 1), ((2, 13), 0)):
        allocator = make(torch_version=version, place=upwards())
        blocks = [allocator.malloc(12 * MIB), allocator.malloc(12 * MIB)]
        allocator.free(blocks[0])
        part = allocator.malloc(4 * MIB)  # the first 4 MiB of the first segment: a new block object in 2.12
        assert blocks[0] == part
        allocator.free(part)  # merges with its rest; the freed object stays
        allocator.free(blocks[1])
        assert blocks[expected] == allocator.malloc(12 * MIB)


def test_the_freed_object_survives_a_merge():
    """In 2.12 a block that merges with a younger one before it keeps its own age."""
    allocator = make(torch_version=(2, 12), place=upwards())
    first, second = allocator.malloc(12 * MIB), allocator.malloc(12 * MIB)
    allocator.free(first)
    front, back = allocator.malloc(4 * MIB), allocator.malloc(8 * MIB)  # a new object, and the old one
    for address in (front, back, second):
        allocator.free(address)
    assert first == allocator.malloc(12 * MIB)


def test_a_freed_block_merges_with_both_neighbours():
    """Three adjacent free blocks become one."""
    allocator = make()
    blocks = [allocator.malloc(4 * MIB) for _ in range(5)]
    for index in (0, 2, 1):
        allocator.free(blocks[index])
    assert shape(allocator) == [(MB_20, [-12 * MIB, 4 * MIB, 4 * MIB])]


def test_segments_never_merge():
    """Two free segments stay two, even side by side."""
    start = iter((0x1000_0000, 0x1000_0000 + MB_20))
    allocator = make(place=lambda _: next(start))
    for address in [allocator.malloc(MB_20), allocator.malloc(MB_20)]:
        allocator.free(address)
    assert shape(allocator)[0][1] == [-MB_20]
    assert len(shape(allocator)) == 2


def test_streams_do_not_share_blocks():
    """A free block serves only the stream it was allocated on."""
    allocator = make()
    block = allocator.malloc(MB_20, stream=1)
    allocator.free(block)
    assert block != allocator.malloc(MB_20, stream=2)
    assert block == allocator.malloc(MB_20, stream=1)


def test_a_free_counts_when_requested_and_is_usable_when_completed():
    """Allocated bytes fall at once; the block and the requested bytes follow when the stream is done."""
    allocator = make()
    block = allocator.malloc(MB_20)
    allocator.free_requested(block)
    assert (allocator.allocated_bytes, allocator.requested_bytes) == (0, MB_20)
    assert block != allocator.malloc(MB_20)
    allocator.free_completed(block)
    assert allocator.requested_bytes == MB_20
    assert block == allocator.malloc(MB_20)


def test_releasing_the_cache_completes_pending_frees():
    """Emptying the cache waits for the other streams, so their blocks are given back too."""
    allocator = make()
    allocator.free_requested(allocator.malloc(MB_20))
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0


def test_freeing_twice_is_an_error():
    """An address that is no block in use is refused, by its number."""
    allocator = make()
    block = allocator.malloc(MIB)
    allocator.free_requested(block)
    for wrong in (allocator.free, allocator.free_requested):
        with pytest.raises(UsageError, match=hex(block)):
            wrong(block)
    allocator.free_completed(block)
    for wrong in (allocator.free, allocator.free_requested, allocator.free_completed):
        with pytest.raises(UsageError, match=hex(block)):
            wrong(block)


def test_the_cache_is_released_before_it_runs_out():
    """A full device is retried after all whole free segments were given back; split ones stay."""
    allocator = make(capacity_bytes=60 * MIB)
    allocator.malloc(4 * MIB)  # of a segment of 20 MiB, whose rest of 16 MiB cannot be given back
    allocator.free(allocator.malloc(40 * MIB))
    assert allocator.reserved_bytes == 60 * MIB
    allocator.malloc(24 * MIB)  # would fit the free 40 MiB: no retry
    assert allocator.num_alloc_retries == 0
    assert shape(allocator)[1] == (40 * MIB, [24 * MIB, -16 * MIB])
    allocator = make(capacity_bytes=80 * MIB)
    allocator.malloc(4 * MIB)
    for address in [allocator.malloc(18 * MIB) for _ in range(3)]:
        allocator.free(address)
    allocator.malloc(54 * MIB)  # the three free 18 MiB do not add up, but their memory does
    assert allocator.num_alloc_retries == 1
    assert allocator.reserved_bytes == 74 * MIB
    assert allocator.inactive_split_bytes == 16 * MIB


def test_release_order_is_large_pool_then_small_by_stream_size_and_address():
    """The log names the segments in the order in which PyTorch gives them back."""
    allocator = make()
    sizes = [(MIB, 0), (30 * MIB, 7), (24 * MIB, 0), (MB_20, 0), (MB_20, 0), (MIB, 7)]
    blocks = [allocator.malloc(size, stream) for size, stream in sizes]
    for block in blocks:
        allocator.free(block)
    allocator.device.log = log = []
    allocator.empty_cache()
    expected = [blocks[index] for index in (4, 3, 2, 1, 0, 5)]  # block 4 lies below block 3
    assert expected == [address for _, address, _ in log]


def test_running_out_tells_the_segment():
    """The error holds the request and the segment that it would have needed; both attempts are counted."""
    allocator = make(capacity_bytes=30 * MIB)
    allocator.malloc(11 * MIB)
    with pytest.raises(OutOfMemoryError) as caught:
        allocator.malloc(3 * MIB)  # needs a segment of 20 MiB, of which 18 MiB are left
    error = caught.value
    assert (error.requested_bytes, error.rounded_bytes, error.segment_bytes) == (3 * MIB, 3 * MIB, MB_20)
    assert (error.allocated_bytes, error.reserved_bytes) == (12 * MIB, 12 * MIB)
    assert (allocator.num_alloc_retries, allocator.num_ooms) == (1, 1)
    assert error.exit_code == 1


def test_an_oversize_block_waits_for_an_oversize_request():
    """With max_split_size a smaller request never takes a block of at least that size."""
    allocator = make("max_split_size_mb:32")
    block = allocator.malloc(64 * MIB)
    allocator.free(block)
    small = allocator.malloc(MB_20)
    assert block != small
    assert allocator.reserved_bytes == 84 * MIB
    assert block != allocator.malloc(44 * MIB)  # 64 >= 44 + 20: too large by the rounding
    assert block == allocator.malloc(44 * MIB + 512)  # not split: the block counts whole
    assert allocator.allocated_bytes == (64 + 20 + 44) * MIB


def test_a_request_of_the_split_limit_is_not_split():
    """A request of exactly max_split_size keeps the whole block."""
    allocator = make("max_split_size_mb:32")
    block = allocator.malloc(40 * MIB)
    allocator.free(block)
    assert block == allocator.malloc(32 * MIB)
    assert allocator.allocated_bytes == 40 * MIB


def test_blocks_of_the_split_limit_are_oversize():
    """Blocks of exactly max_split_size are released together for a larger request."""
    allocator = make("max_split_size_mb:32", capacity_bytes=70 * MIB)
    for block in [allocator.malloc(32 * MIB), allocator.malloc(32 * MIB)]:
        allocator.free(block)
    allocator.malloc(64 * MIB)
    assert (allocator.num_alloc_retries, allocator.reserved_bytes) == (0, 64 * MIB)


def test_max_non_split_rounding_is_a_setting():
    """`max_non_split_rounding_mb` replaces the 20 MiB by which an oversize block may be too large."""
    allocator = make("max_split_size_mb:32,max_non_split_rounding_mb:40")
    block = allocator.malloc(64 * MIB)
    allocator.free(block)
    assert block == allocator.malloc(44 * MIB)


def test_only_the_needed_oversize_blocks_are_released():
    """With max_split_size the smallest oversize block that suffices goes first, and no retry is counted."""
    allocator = make("max_split_size_mb:32", capacity_bytes=200 * MIB)
    blocks = [allocator.malloc(size * MIB) for size in (40, 60, 80)]
    for block in blocks:
        allocator.free(block)
    allocator.malloc(30 * MIB)  # 20 MiB are left; 40 MiB suffice
    assert [size for _, sizes in shape(allocator) for size in sizes] == [-60 * MIB, -80 * MIB, 30 * MIB]
    assert allocator.num_alloc_retries == 0


def test_several_oversize_blocks_are_released_together():
    """Where no single oversize block suffices, the largest go until their sum does."""
    allocator = make("max_split_size_mb:32", capacity_bytes=200 * MIB)
    for block in [allocator.malloc(size * MIB) for size in (40, 50, 60)]:
        allocator.free(block)
    allocator.malloc(100 * MIB)
    assert [size for _, sizes in shape(allocator) for size in sizes] == [-40 * MIB, 100 * MIB]
    assert allocator.num_alloc_retries == 0


@pytest.mark.parametrize(
    ("size", "block"),
    [
        (1200, 1536),  # 1200 <= 512 * 4: multiples of 512
        (2049, 2560),  # between 2048 and 4096 the steps are 512
        (5 * KIB, 5 * KIB),
        (5 * KIB + 1, 6 * KIB),
        (MIB + 1, MIB + 256 * KIB),  # counted whole below
        (8 * MIB, 8 * MIB),
        (9 * MIB, 10 * MIB),
    ],
)
def test_roundup_power2_divisions(size, block):
    """Four divisions round up to a quarter of the power of two below."""
    allocator = make("roundup_power2_divisions:4")
    allocator.malloc(size)
    assert block == allocator.allocated_bytes


def test_divisions_hold_in_their_interval():
    """Each power of two has its own divisions; 1 stands for multiples of 512 bytes."""
    allocator = make("roundup_power2_divisions:[2:1,4:2,>:8]")
    sizes = [2 * MIB + 5, 5 * MIB, 8 * MIB + 1]
    expected = [2 * MIB + 512, 6 * MIB, 9 * MIB]
    addresses = [allocator.malloc(size) for size in sizes]
    blocks = {block.address: block.size_bytes for segment in allocator.snapshot() for block in segment.blocks}
    assert expected == [blocks[address] for address in addresses]


def test_the_memory_fraction_caps_what_is_reserved():
    """The cap counts segments, not the context, and a fraction of 1 sets none."""
    allocator = make("per_process_memory_fraction:0.5", capacity_bytes=90 * MIB, total_bytes=100 * MIB)
    allocator.malloc(50 * MIB)
    with pytest.raises(OutOfMemoryError) as caught:
        allocator.malloc(512)
    assert caught.value.allowed_bytes == 50 * MIB
    whole = make("per_process_memory_fraction:1.0", capacity_bytes=90 * MIB, total_bytes=80 * MIB)
    whole.malloc(90 * MIB)
    assert whole.reserved_bytes == 90 * MIB


def test_garbage_is_collected_by_age_before_a_new_segment():
    """Above the threshold, free segments of at least average age go; the threshold itself is allowed."""
    text = "per_process_memory_fraction:0.5,garbage_collection_threshold:0.6"
    allocator = make(text, capacity_bytes=200 * MIB)  # the cap is 100 MiB, garbage from 60 MiB on
    old, new = allocator.malloc(MB_20), allocator.malloc(24 * MIB)
    allocator.free(old)  # after 2 searches of the large pool
    allocator.malloc(16 * MIB)  # search 3 takes `old`, whose rest of 4 MiB is split off
    assert allocator.reserved_bytes == 44 * MIB
    third = allocator.malloc(16 * MIB)  # search 4
    allocator.free(third)
    allocator.malloc(12 * MIB)  # search 5 takes `third` and splits it: 60 MiB, still allowed
    allocator.free(new)  # after 5 searches
    allocator.malloc(30 * MIB)  # search 6: 60 MiB reserved is not above the threshold, so nothing goes
    assert allocator.reserved_bytes == 90 * MIB
    allocator.malloc(26 * MIB)  # search 7: 30 MiB too much; the free 24 MiB go, and the cap holds
    assert allocator.reserved_bytes == 92 * MIB
    assert allocator.num_alloc_retries == 0


@pytest.mark.parametrize(("version", "reserved", "counts"), [((2, 11), 60, (0, 1)), ((2, 12), 40, (1, 0))])
def test_a_request_above_the_fraction_may_fail_before_the_cache_is_released(version, reserved, counts):
    """From 2.12 on, where `throw_on_cudamalloc_oom` says so: what is cached stays, and nothing is retried."""
    text = "per_process_memory_fraction:0.7,throw_on_cudamalloc_oom:True"
    allocator = make(text, capacity_bytes=100 * MIB, torch_version=version)
    allocator.free(allocator.malloc(40 * MIB))
    with pytest.raises(OutOfMemoryError) if counts[0] else contextlib.nullcontext():
        allocator.malloc(60 * MIB)
    assert (reserved * MIB, counts) == (
        allocator.reserved_bytes, (allocator.num_ooms, allocator.num_alloc_retries),
    )  # fmt: skip


def test_garbage_needs_a_memory_fraction():
    """Without a cap the threshold has no effect."""
    allocator = make("garbage_collection_threshold:0.1", capacity_bytes=200 * MIB)
    allocator.free(allocator.malloc(100 * MIB))
    allocator.malloc(99 * MIB, stream=1)
    assert allocator.reserved_bytes == 200 * MIB


def test_the_message_is_pytorchs():
    """The text names the segment, the device, the process and the cap, as torch 2.11 writes it."""
    error = OutOfMemoryError(
        requested_bytes=75 * MIB + 256 * KIB,
        rounded_bytes=75 * MIB + 256 * KIB,
        segment_bytes=76 * MIB,
        allocated_bytes=20 * GIB,
        reserved_bytes=20 * GIB + 900 * KIB,
    )
    message = out_of_memory_message(
        error, total_bytes=24 * GIB, context_bytes=512 * MIB, used_by_others_bytes=3 * GIB, device=1
    )
    expected = (
        "CUDA out of memory. Tried to allocate 76.00 MiB. GPU 1 has a total capacity of 24.00 GiB of which "
        "511.12 MiB is free. Including non-PyTorch memory, this process has 20.50 GiB memory in use. Of the "
        "allocated memory 20.00 GiB is allocated by PyTorch, and 900.00 KiB is reserved by PyTorch but "
        "unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for "
        "Memory Management  (https://docs.pytorch.org/docs/stable/notes/cuda.html"
        "#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)"
    )
    assert expected == message


def test_the_message_tells_the_segment_and_the_cap():
    """A request of 3 MiB "tried to allocate" 20 MiB; a memory fraction is told as "allowed"."""
    allocator = make("per_process_memory_fraction:0.5", capacity_bytes=40 * MIB)
    allocator.malloc(11 * MIB)
    with pytest.raises(OutOfMemoryError) as caught:
        allocator.malloc(3 * MIB)
    message = out_of_memory_message(caught.value, total_bytes=40 * MIB)
    assert "Tried to allocate 20.00 MiB. " in message
    assert "memory in use. 20.00 MiB allowed; Of the allocated" in message
