"""One cell."""

import json

import pytest

from actprof.cell import CELL_FIELDS, Cell
from actprof.cell_field import parse_resolution
from actprof.errors import UsageError


def test_a_cell_survives_the_way_to_json_and_back():
    """Every field comes back as it was."""
    cell = Cell(overrides={"b": [1, None], "a": 1e-5}, gpu=None, capacity_bytes=2**34, alloc_conf="x:1")
    assert cell == Cell.from_json(json.loads(json.dumps(cell.to_json())))


def test_an_older_file_takes_defaults_and_a_newer_one_is_trimmed():
    """Fields that are missing take their defaults; fields that are unknown are left out."""
    assert Cell(cameras=3) == Cell.from_json({"cameras": 3, "invented_later": 1})


def test_the_order_of_overrides_is_no_difference():
    """Equal cells have equal texts."""
    assert Cell(overrides={"a": 1, "b": 2}).identity() == Cell(overrides={"b": 2, "a": 1}).identity()


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 64},
        {"gpu": "T4"},
        {"capacity_bytes": 2**34},
        {"alloc_conf": "expandable_segments:True"},
        {"used_by_others_bytes": 2**30},
    ],
)
def test_one_trace_serves_batches_gpus_and_allocators(change):
    """What a trace does not depend on is not in its key, but in the cell's identity."""
    assert Cell().trace_key() == Cell(**change).trace_key()
    assert Cell().identity() != Cell(**change).identity()


@pytest.mark.parametrize(
    "change",
    [
        {"cameras": 1},
        {"cameras": 0},
        {"cameras": ["640x480", "480x640"]},
        {"resolution": "224x224"},
        {"environment_dim": 4},
        {"task_tokens": 12},
        {"peft": {"r": 16}},
        {"accumulate": 4},
        {"ema": True},
        {"overrides": {"chunk_size": 50}},
        {"precision": "bf16"},
        {"state_dim": 0},
    ],
)
def test_what_shapes_the_tensors_is_in_the_trace_key(change):
    """Another resolution, camera count, override or precision needs a trace of its own."""
    assert Cell().trace_key() != Cell(**change).trace_key()


def test_width_comes_before_height():
    """640x480 is a landscape image."""
    assert ((640, 480),) * 2 == Cell(resolution="640x480").frame_sizes
    assert 2 * 640 * 480 == Cell(resolution="640x480").pixels


@pytest.mark.parametrize("listed", [["640x480", "480x640"], ("640x480", "480x640"), "640x480, 480x640"])
def test_cameras_may_be_the_list_of_their_resolutions(listed):
    """However it is written, it is their number and a resolution for each."""
    cell = Cell(cameras=listed)

    assert (2, "640x480,480x640") == (cell.cameras, cell.resolution)
    assert ((640, 480), (480, 640)) == cell.frame_sizes
    assert cell == Cell(cameras=2, resolution="640x480,480x640")
    assert cell == Cell.from_json(json.loads(json.dumps(cell.to_json())))


@pytest.mark.parametrize("cameras", [["224x224"] * 3, "224x224,224x224,224x224"])
def test_cameras_alike_are_a_number_and_one_resolution(cameras):
    """The short form, which may be a text as well."""
    assert Cell(cameras=3, resolution="224x224") == Cell(cameras=cameras)
    assert Cell(cameras=3, resolution="224x224") == Cell(cameras="3", resolution="224x224")


def test_there_may_be_no_camera():
    """Then there are no frames."""
    assert ((), 0) == (Cell(cameras=0).frame_sizes, Cell(cameras="0").pixels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cameras": -1}, "cameras is -1; it must be at least 0"),
        ({"cameras": True}, "cameras is True; it must be a whole number"),
        ({"cameras": ""}, "cameras is ''; it must be a whole number"),
        ({"cameras": "640x480,two"}, "'two' is not a resolution"),
        (
            {"cameras": ["640x480"], "resolution": "224x224"},
            "cameras lists resolutions, so '224x224' is one",
        ),
        (
            {"cameras": 3, "resolution": "640x480,480x640"},
            "there are 2 resolutions for 3 cameras; give one",
        ),
        ({"accumulate": 0}, "accumulate is 0; it must be at least 1"),
        ({"task_tokens": -1}, "task_tokens is -1; it must be at least 0"),
        ({"environment_dim": -1}, "environment_dim is -1; it must be at least 0"),
    ],
)
def test_what_no_run_has_is_refused(fields, message):
    """The message names the field and its value."""
    with pytest.raises(UsageError, match=message):
        Cell(**fields)


def test_fields_that_came_later_leave_old_keys_as_they_were():
    """Traces that were recorded before there were adapters, accumulation or averages are still found."""
    later = {"environment_dim", "task_tokens", "peft", "accumulate", "ema", "changes"}
    assert not later & set(Cell().trace_key())


@pytest.mark.parametrize(
    "text", ["640*480", "640", "640X480", "0x480", "640x", "640x480x3", " 640x480", "-1x2", ""]
)
def test_another_form_of_resolution_is_refused(text):
    """The message repeats the text and shows the form."""
    with pytest.raises(UsageError) as caught:
        parse_resolution(text)
    assert f"{text!r} is not a resolution; write WIDTHxHEIGHT, like 640x480" == str(caught.value)


def test_changes_are_sorted_and_belong_to_the_trace():
    """Their order is no difference; without any, keys are what they were before there were changes."""
    cell = Cell(changes=("fused_attention", "channels_last", "fused_attention"))

    assert ("channels_last", "fused_attention") == cell.changes
    assert ["channels_last", "fused_attention"] == cell.trace_key()["changes"]
    assert "changes" not in Cell().trace_key()
    assert cell == Cell.from_json(json.loads(json.dumps(cell.to_json())))


@pytest.mark.parametrize(("value", "compiled"), [(True, True), (1, True), (False, False), (None, False)])
def test_compile_model_is_what_compiles(value, compiled):
    """As Python reads the field, for lerobot does."""
    assert compiled == Cell(overrides={"compile_model": value}).compiled
    assert not Cell(overrides={"compile_mode": "max-autotune"}).compiled


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"changes": ("faster",)}, "'faster' is not a change; choose among accumulate_2, "),
        ({"changes": "fused_attention"}, "changes is the text 'fused_attention'; give a list of names"),
        ({"changes": ("accumulate_2",), "batch_size": 3}, "a batch of 3 has no 2 equal parts"),
    ],
)
def test_changes_that_cannot_be_are_refused(fields, message):
    """The message names the value and the remedy."""
    with pytest.raises(UsageError, match=message):
        Cell(**fields)


def test_readers_are_told_of_what_is_unusual_only():
    """In words without the field's name where the value speaks for itself."""
    cell = Cell(
        overrides={"use_vae": False, "chunk_size": 50}, state_dim=14, optimizer="sgd", precision="bf16",
        used_by_others_bytes=2**30, cudnn_benchmark=False, changes=("fused_adamw", "channels_last"),
        environment_dim=4, task_tokens=12, peft={"r": 16}, accumulate=4, ema=True,
    )  # fmt: skip
    told = [word for part in CELL_FIELDS for word in part.unusual(getattr(cell, part.name))]

    assert [
        "chunk_size=50", "use_vae=False", "state 14", "environment state 4", "task tokens 12", "sgd",
        "peft.r=16", "accumulate 4", "EMA on", "bf16", "1.00 GiB used by others",
        "cudnn.benchmark off", "channels_last", "fused_adamw",
    ] == told  # fmt: skip
    assert not any(part.unusual(getattr(Cell(), part.name)) for part in CELL_FIELDS)


def test_each_field_has_a_name_of_its_own_everywhere():
    """In Python, as a keyword, in scenario files and as an option."""
    for names in ("name", "keyword", "key", "option", "called"):
        assert len(CELL_FIELDS) == len({getattr(part, names) for part in CELL_FIELDS})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_override_without_end_is_refused(value):
    """JSON has no such numbers, and so no row could hold them."""
    with pytest.raises(UsageError, match=r"dropout is .*finite"):
        Cell(overrides={"dropout": value})
