"""The timelines as compact data."""

import json

from actprof.report.curves import pack_curves


def test_every_cell_is_found_by_its_place_on_the_axes(grid):
    """No two cells have the same place, and every index names a choice."""
    packed = pack_curves(grid)
    places = [tuple(cell["at"]) for cell in packed["cells"]]
    sizes = [len(packed["axes"][axis]) for axis in packed["axes"]]
    assert len(grid) == len(set(places))
    assert all(0 <= index < size for place in places for index, size in zip(place, sizes, strict=True))
    assert ["640x480", "224x224"] == packed["axes"]["resolution"]


def test_sizes_are_whole_mib(make_result):
    """10 GiB are 10240, as differences."""
    packed = pack_curves([make_result()])
    assert [0, 2560, 7680, 0, 0] == packed["curves"][0]["reserved"]
    assert (24 * 1024 - 512) == packed["cells"][0]["room"]


def test_the_same_timeline_is_stored_once(make_result):
    """Two GPUs share a trace."""
    packed = pack_curves([make_result(), make_result(gpu="T4")])
    assert 1 == len(packed["curves"])
    assert [0, 0] == [cell["curve"] for cell in packed["cells"]]


def test_the_first_cell_beyond_the_limit_is_shown_first(grid):
    """There is most to see: two large cameras, the default allocator."""
    packed = pack_curves(grid)
    names = list(packed["axes"].values())
    at = packed["cells"][packed["start"]]["at"]
    assert ["", "640x480", "two cameras", "128", "default allocator"] == [
        names[i][j] for i, j in enumerate(at)
    ]


def test_cells_without_a_timeline_are_cells_all_the_same(make_result):
    """An unknown cell, and no cell at all."""
    packed = pack_curves([make_result(verdict="unknown")])
    assert [None] == [cell["curve"] for cell in packed["cells"]]
    assert [] == pack_curves([])["cells"]
    json.dumps(packed)
