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
        {"resolution": "224x224"},
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
    assert (640, 480) == (Cell(resolution="640x480").width, Cell(resolution="640x480").height)


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
    )  # fmt: skip
    told = [word for part in CELL_FIELDS for word in part.unusual(getattr(cell, part.name))]

    assert [
        "chunk_size=50", "use_vae=False", "state 14", "sgd", "bf16", "1.00 GiB used by others",
        "cudnn.benchmark off", "channels_last", "fused_adamw",
    ] == told  # fmt: skip
    assert not any(part.unusual(getattr(Cell(), part.name)) for part in CELL_FIELDS)


def test_each_field_has_a_name_of_its_own_everywhere():
    """In Python, as a keyword, in scenario files and as an option."""
    for names in ("name", "keyword", "key", "option", "called"):
        assert len(CELL_FIELDS) == len({getattr(part, names) for part in CELL_FIELDS})
