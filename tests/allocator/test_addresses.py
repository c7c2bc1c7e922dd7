"""Where the driver puts new segments."""

from __future__ import annotations

from itertools import pairwise

from actprof.allocator.device_memory import DriverAddresses
from actprof.units import MIB


def placed(sizes, *, load_before=None):
    """Return the addresses of segments of so many MiB, less that of the first."""
    addresses = DriverAddresses()
    found = []
    for index, size in enumerate(sizes):
        if index == load_before:
            addresses.load_kernels()
        found.append(addresses(size * MIB))
    return [(address - found[0]) // MIB for address in found]


def test_small_segments_fill_the_newest_piece():
    """As recorded: 20 MiB, then 2 behind it in the same 32; the next 20 lie one piece below."""
    assert [0, -32, -12, -64, -44] == placed([20, 20, 2, 20, 2])


def test_older_pieces_are_filled_when_newer_ones_are_full():
    """Six small segments fit behind 20 MiB; the seventh goes to the piece before."""
    assert [0, -32, *range(-12, 0, 2), 20] == placed([20, 20, *[2] * 7])


def test_large_segments_go_into_the_hole_until_it_is_full():
    """Upwards, from the moment at which kernels are loaded; what has no room there lies below."""
    found = placed([20, 150, 150, 36, 30], load_before=1)
    assert [0, -352, -202, -52] == found[:4]
    assert found[4] == -352 - 32


def test_segments_never_overlap():
    """Whatever comes, in whichever order."""
    sizes = [2, 20, 34, 2, 700, 20, 20, 2, 2, 64, 350, 2, 30, 98]
    addresses = DriverAddresses()
    taken = []
    for index, size in enumerate(sizes):
        if index == 4:
            addresses.load_kernels()
        taken.append((addresses(size * MIB), size * MIB))
    taken.sort()
    assert all(start + size <= after for (start, size), (after, _) in pairwise(taken))
