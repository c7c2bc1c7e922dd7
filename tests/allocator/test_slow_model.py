"""Ten thousand random programs per setting give the same answers as a model that scans lists."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from slow_model import SlowAllocator, SlowOutOfMemoryError

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.allocator.device_memory import DeviceMemory
from actprof.out_of_memory import OutOfMemoryError

MIB = 1024**2
PROGRAMS = 10_000
SETTINGS = [
    "",
    "expandable_segments:True",
    "max_split_size_mb:32",
    "max_split_size_mb:24,max_non_split_rounding_mb:40",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:[1:8,4:2,>:4]",
    "per_process_memory_fraction:0.6",
    "per_process_memory_fraction:0.7,expandable_segments:True",
    "per_process_memory_fraction:0.8,garbage_collection_threshold:0.5",
    "per_process_memory_fraction:0.9,garbage_collection_threshold:0.3,max_split_size_mb:24",
    "roundup_power2_divisions:8,expandable_segments:True",
]
EDGES = [512, MIB - 1, MIB, MIB + 1, 10 * MIB - 1, 10 * MIB, 19 * MIB, 20 * MIB, 32 * MIB]


def make_program(rng):
    """Return a capacity and some steps: malloc (bytes, stream), free (which block), empty_cache."""
    steps = []
    for _ in range(rng.randrange(5, 26)):
        choice = rng.random()
        if choice < 0.58:
            low, high = rng.choice(((1, 2 * MIB), (MIB, 30 * MIB), (10 * MIB, 60 * MIB)))
            size = rng.choice(EDGES) if rng.random() < 0.3 else rng.randrange(low, high)
            steps.append(("malloc", size, 7 if rng.random() < 0.2 else 0))
        elif choice < 0.94:
            steps.append(("free", rng.randrange(1000), 0))
        else:
            steps.append(("empty_cache", 0, 0))
    return rng.choice((60, 100, 160)) * MIB, steps


def run_both(config, capacity, steps, seen):
    """Run a program through both; count in `seen` what it met."""
    fast = CachingAllocator(config, capacity_bytes=capacity)
    twin = DeviceMemory(capacity_bytes=capacity, total_bytes=None, config=AllocatorConfig())
    places = twin.place_range if config.expandable_segments else twin.place
    slow = SlowAllocator(config, capacity_bytes=capacity, places=places)
    live = []
    for action, number, stream in steps:
        if action == "malloc":
            expected = outcome(slow.malloc, number, stream)
            assert expected == outcome(fast.malloc, number, stream)
            if expected is None:
                seen["out of memory"] += 1
            else:
                live.append(expected)
        elif action == "free":
            if live:
                address = live.pop(number % len(live))
                slow.free(address)
                fast.free(address)
        else:
            slow.empty_cache()
            fast.empty_cache()
        assert slow.reserved == fast.reserved_bytes
    assert slow.allocated == fast.allocated_bytes
    assert slow.retries == fast.num_alloc_retries
    seen["retry"] += slow.retries > 0
    seen["reuse"] += slow.reserved > 0


def outcome(malloc, size, stream):
    """Return the address, or None where there is no memory."""
    try:
        return malloc(size, stream)
    except (OutOfMemoryError, SlowOutOfMemoryError):
        return None


@pytest.mark.parametrize("text", SETTINGS)
def test_ten_thousand_programs_agree(text):
    """Addresses, reserved and allocated bytes, retries and failures are those of the slow model."""
    config = AllocatorConfig.parse(text)
    rng = random.Random(text)  # noqa: S311 - programs, not secrets
    seen = Counter()
    for _ in range(PROGRAMS):
        run_both(config, *make_program(rng), seen)
    assert min(seen["out of memory"], seen["retry"], seen["reuse"]) > PROGRAMS // 50
