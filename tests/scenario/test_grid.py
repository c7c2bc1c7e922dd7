"""The grid: laws over any axes, and the refusals that only a whole grid shows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import builtin_catalogue
from actprof.scenario import grid_cells
from actprof.scenario.grid import LARGEST_GRID, build_scenario
from actprof.scenario.grid_cells import GridError, expand

AXES = {
    "batch_size": st.integers(1, 512),
    "cameras": st.integers(1, 4),
    "resolution": st.sampled_from(["640x480", "480x360", "320x240", "256x256", "224x224"]),
    "expandable_segments": st.booleans(),
    "precision": st.sampled_from(["fp32", "fp16", "bf16"]),
    "set.chunk_size": st.sampled_from([50, 100, 50.0, True, None]),
    "capacity": st.integers(2**28, 2**40),
}


def key(value):
    return (type(value), value)


@st.composite
def grids(draw):
    """Some axes in any order, each with some different values."""
    names = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True, max_size=4))
    return {name: draw(st.lists(AXES[name], min_size=1, max_size=4, unique_by=key)) for name in names}


@st.composite
def grids_with_exclusions(draw):
    """A grid, and rules that each name some of its axes and values."""
    axes = draw(grids().filter(bool))
    rules = st.dictionaries(st.sampled_from(sorted(axes)), st.just(None), min_size=1, max_size=3)
    chosen = [
        {axis: draw(st.lists(st.sampled_from(axes[axis]), min_size=1, max_size=2)) for axis in rule}
        for rule in draw(st.lists(rules, max_size=3))
    ]
    return axes, chosen


def matches(rule, axis, value):
    return axis not in rule or key(value) in [key(v) for v in rule[axis]]


def position(cell, axes):
    """Return the indices of the cell's values on the axes, read off the cell itself."""
    values = {
        "expandable_segments": cell.alloc_conf == "expandable_segments:True",
        "set.chunk_size": cell.overrides.get("chunk_size"),
        "capacity": cell.capacity_bytes,
    }
    found = {axis: values[axis] if axis in values else getattr(cell, axis) for axis in axes}
    return tuple([key(v) for v in axes[axis]].index(key(value)) for axis, value in found.items())


@given(grids())
def test_there_is_one_cell_for_each_combination(axes):
    """As many cells as the product of the axes, all different."""
    cells = expand({}, axes)
    assert math.prod(len(values) for values in axes.values()) == len(cells)
    assert len({cell.identity() for cell in cells}) == len(cells)


@given(grids())
def test_cells_come_as_nested_loops_over_the_axes_in_file_order(axes):
    """The first axis is slowest, the last fastest; a second expansion is the same."""
    cells = expand({}, axes)
    positions = [position(cell, axes) for cell in cells]
    assert sorted(positions) == positions
    assert cells == expand({}, axes)


@given(grids_with_exclusions())
def test_exclusions_drop_exactly_the_cells_they_match(grid):
    """What is left is the whole grid, in order, less the cells whose values are all named by a rule."""
    axes, rules = grid
    matched = {
        index
        for index in [position(cell, axes) for cell in expand({}, axes)]
        for rule in rules
        if all(matches(rule, a, axes[a][i]) for a, i in zip(axes, index, strict=True))
    }
    expected = [cell for cell in expand({}, axes) if position(cell, axes) not in matched]
    assert expected == list(expand({}, axes, rules))


def test_without_axes_there_is_one_cell():
    """A scenario may ask about a single run."""
    assert (Cell(cameras=1),) == expand({"cameras": 1}, {})


@pytest.mark.parametrize(
    ("fixed", "axes", "expected"),
    [
        ({"set": {"chunk_size": 50}}, {"set.kl_weight": [1.0]}, {"chunk_size": 50, "kl_weight": 1.0}),
        ({"set": {"a": 1}}, {"set": [{"b": 2}]}, {"a": 1, "b": 2}),
        ({}, {"set": [{"b": 2}], "set.c": [3]}, {"b": 2, "c": 3}),
    ],
)
def test_fixed_and_swept_config_fields_come_together(fixed, axes, expected):
    """`set`, an axis over `set` and axes over single fields merge into the overrides of a cell."""
    assert [expected] == [cell.overrides for cell in expand(fixed, axes)]


@pytest.mark.parametrize(
    ("given_fields", "expected"),
    [
        ({"expandable_segments": True}, "expandable_segments:True"),
        ({"expandable_segments": False}, ""),
        (
            {"expandable_segments": True, "alloc_conf": "max_split_size_mb:64"},
            "max_split_size_mb:64,expandable_segments:True",
        ),
        ({"expandable_segments": False, "alloc_conf": "max_split_size_mb:64"}, "max_split_size_mb:64"),
    ],
)
def test_the_shorthand_is_merged_into_the_allocator_settings(given_fields, expected):
    """True adds PyTorch's own key; false is PyTorch's default and adds nothing."""
    assert expected == expand(given_fields, {})[0].alloc_conf


@pytest.mark.parametrize(
    ("given_fields", "expected"),
    [
        ({}, ("RTX 3090", None)),
        ({"capacity": 2**34}, (None, 2**34)),
        ({"capacity": 2**34, "gpu": "T4"}, ("T4", 2**34)),
    ],
)
def test_a_capacity_alone_stands_for_a_gpu_of_that_size(given_fields, expected):
    """With a GPU it replaces that GPU's usual figure; with neither there is the default GPU."""
    cell = expand(given_fields, {})[0]
    assert expected == (cell.gpu, cell.capacity_bytes)


@pytest.mark.parametrize(
    ("fixed", "axes", "exclude", "path", "expected"),
    [
        (
            {},
            {"cameras": []},
            [],
            ("sweep", "cameras"),
            "cameras has no values; write at least one, or remove the axis",
        ),
        ({}, {"cameras": [1, 2, 1]}, [], ("sweep", "cameras", 2), "cameras repeats 1; keep one"),
        ({"gpu": "T4"}, {"gpu": ["L4"]}, [], ("sweep", "gpu"), "gpu is both fixed and swept; keep one"),
        (
            {"set": {"a": 1}},
            {"set.a": [2]},
            [],
            ("sweep", "set.a"),
            "set.a is both fixed and swept; keep one",
        ),
        (
            {"set": {"a": 1}},
            {"set": [{"a": 2}]},
            [],
            ("sweep", "set"),
            "set.a is both fixed and swept; keep one",
        ),
        (
            {},
            {"set": [{"a": 2}], "set.a": [1]},
            [],
            ("sweep", "set.a"),
            "set.a is swept by set as well; keep one",
        ),
        (
            {"alloc_conf": "expandable_segments:False"},
            {"expandable_segments": [True]},
            [],
            ("sweep", "expandable_segments"),
            "expandable_segments is in alloc_conf as well; keep one",
        ),
        (
            {},
            {"cameras": [1, 2], "batch_size": list(range(1, LARGEST_GRID // 2 + 2))},
            [],
            ("sweep",),
            "the grid has 1,000,002 runs; the limit is 1,000,000, so sweep fewer values",
        ),
        ({}, {"cameras": [1]}, [{}], ("exclude", 0), "the exclusion names no axis; write like {cameras: 3}"),
        (
            {"batch_size": 8},
            {"cameras": [1]},
            [{"batch_size": [8]}],
            ("exclude", 0, "batch_size"),
            "batch_size is not swept, so it excludes nothing; the axes are cameras",
        ),
        (
            {},
            {"cameras": [1, 2]},
            [{"cameras": [1]}, {"cameras": [1, 3]}],
            ("exclude", 1, "cameras"),
            "cameras never is 3; its values are 1, 2",
        ),
        (
            {},
            {"cameras": [1, 2]},
            [{"cameras": [1, 2]}],
            ("exclude",),
            "exclude leaves no run; remove an exclusion",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused(fixed, axes, exclude, path, expected):
    """The error says what is wrong and which key it stands under."""
    with pytest.raises(GridError) as caught:
        build_scenario(fixed, axes, exclude)
    assert (path, expected) == (caught.value.path, str(caught.value))


def test_another_gpu_takes_the_place_of_every_gpu():
    """GIVEN swept GPUs and a capacity WHEN another is named THEN it replaces all, at its usual size."""
    axes = {"gpu": ["T4", "L4"], "batch_size": [8, 16]}
    scenario = build_scenario({"capacity": 2**34}, axes, catalogue=builtin_catalogue()).with_gpu("4090")
    expected = [Cell(gpu="RTX 4090", batch_size=8), Cell(gpu="RTX 4090", batch_size=16)]
    assert expected == list(scenario.cells)
    assert {"batch_size": (8, 16)} == scenario.axes
    assert {"gpu": "RTX 4090"} == scenario.fixed


def test_an_unknown_gpu_in_its_place_is_refused():
    """The name is looked up in the scenario's own catalogue."""
    with pytest.raises(UsageError, match="unknown GPU '9999'"):
        build_scenario({}, {"cameras": [1]}).with_gpu("9999")


LARGE = {"resolution": ["640x480", "320x240"], "batch_size": [8, 16, 32]}


def test_a_large_grid_has_the_cells_of_a_small_one_and_keeps_none(monkeypatch):
    """In the same order, all of them or some, on another GPU too."""
    rule = [{"resolution": ["320x240"], "batch_size": [16]}]
    small = build_scenario({"gpu": "T4"}, LARGE, rule)
    monkeypatch.setattr(grid_cells, "LARGEST_KEPT", 2)
    large = build_scenario({"gpu": "T4"}, LARGE, rule)

    assert isinstance(large.cells, grid_cells.GridCells)
    assert list(small.cells) == list(large.cells)
    assert 5 == len(large.cells)
    assert [small.cells[3], small.cells[-1]] == [large.cells[3], large.cells[-1]]
    assert small.cells[1:4] == large.cells[1:4]
    assert small.cells[::-2] == large.cells[::-2]
    moved = large.with_gpu("RTX 3090")
    assert isinstance(moved.cells, grid_cells.GridCells)
    assert list(small.with_gpu("RTX 3090").cells) == list(moved.cells)


def test_a_large_grid_moved_from_swept_gpus_has_each_run_once(monkeypatch):
    """Two cards become one, and so do their runs."""
    monkeypatch.setattr(grid_cells, "LARGEST_KEPT", 2)
    moved = build_scenario({}, {"gpu": ["T4", "A100"], "batch_size": [8, 16]}).with_gpu("RTX 3090")

    assert [8, 16] == [cell.batch_size for cell in moved.cells]


def test_the_runs_of_a_large_grid_are_all_different(monkeypatch):
    """As of a small one, with the same words."""
    axes = {"resolution": ["640x480", "320x240"], "batch_size": [8, 16]}
    monkeypatch.setattr(grid_cells, "LARGEST_KEPT", 2)
    monkeypatch.setattr(grid_cells, "make_cell", lambda _fixed, chosen: Cell(batch_size=chosen["batch_size"]))
    with pytest.raises(GridError, match="two combinations make the same run"):
        build_scenario({}, axes)
