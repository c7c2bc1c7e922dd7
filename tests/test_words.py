"""Words and numbers for readers."""

import itertools
import shlex

import pytest

from actprof.cell import Cell
from actprof.cli.options import parse_overrides
from actprof.units import GIB
from actprof.words import (
    asked_text,
    cameras_text,
    cell_command,
    difference_text,
    gib,
    images_text,
    join,
    options_text,
    percent,
    rate_text,
    says_strategy,
    spell,
    times,
    views_text,
)


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), ("abc", "a, b and c")]
)
def test_lists_end_in_and(items, text):
    """None, one, two and three items."""
    assert text == join(items)


def test_rates_have_three_figures():
    """Whatever their size, and never an exponent."""
    rates = (4.274, 72.69, 387.0, 1237.0)
    assert ["4.27", "72.7", "387", "1,240"] == [rate_text(rate) for rate in rates]


def test_small_numbers_are_words():
    """From ten on they are digits."""
    assert ("one camera", "two cameras", "12 cameras") == tuple(cameras_text(n) for n in (1, 2, 12))
    assert "no" == spell(0)


UNLIKE = {"cameras": 3, "resolution": "640x480,640x480,480x640"}


@pytest.mark.parametrize(
    ("fields", "asked", "views", "images"),
    [
        ({}, "2 cameras at 640x480", "two 640x480 cameras", "640x480"),
        ({"cameras": 1}, "1 camera at 640x480", "one 640x480 camera", "640x480"),
        ({"cameras": 0}, "no cameras", "no cameras", "no images"),
        (
            UNLIKE, "2 cameras at 640x480 and 1 at 480x640", "two 640x480 cameras and one 480x640",
            "640x480 \u00d72, 480x640",
        ),
    ],
    ids=["alike", "one", "none", "unlike"],
)  # fmt: skip
def test_cameras_are_said_in_three_ways(fields, asked, views, images):
    """For a headline, for a sentence, and where there is little room; each size once."""
    cell = Cell(**fields)
    assert f"{asked}, batch 8" == asked_text(cell)
    assert views == views_text(cell.cameras, cell.resolution)
    assert images == images_text(cell.cameras, cell.resolution)


def test_a_headline_names_what_is_not_as_usual():
    """In the words of commands; fields of the policy's config are not among them."""
    cell = Cell(
        overrides={"chunk_size": 50}, environment_dim=7, task_tokens=12, optimizer="adamw_8bit",
        peft={"r": 16}, accumulate=4, ema=True, precision="bf16", changes=("fused_attention",),
    )  # fmt: skip
    assert [
        "environment state 7", "task tokens 12", "adamw_8bit", "peft.r=16", "accumulate 4", "EMA on", "bf16",
        "fused_attention",
    ] == options_text(cell)  # fmt: skip
    assert [] == options_text(Cell())


def test_settings_of_a_strategy_are_named_where_it_is_used():
    """Under another they mean nothing."""
    asked = {"world_size": 2, "wrap_modules": ("B", "A"), "gradient_as_bucket_view": True}
    assert ["sharded by A and B"] == options_text(Cell(strategy="fsdp", **asked))
    assert ["gradient_as_bucket_view on"] == options_text(Cell(strategy="ddp", **asked))
    assert [] == options_text(Cell(wrap_modules=("A",), find_unused_parameters=False))


def test_shares_never_round_to_nothing():
    """A share below one percent says so; nothing of nothing is nothing."""
    texts = [percent(*pair).replace("\u202f", " ") for pair in ((1, 1000), (27, 100), (0, 5), (0, 0))]
    assert ["<1 %", "27 %", "0 %", "0 %"] == texts


@pytest.mark.parametrize(
    ("part", "text"), [(31, "+0.31 %"), (-412, "\u22124.1 %"), (1500, "+15 %"), (0, "0 %"), (-0.001, "0 %")]
)
def test_differences_have_a_sign_and_the_digits_that_they_are_worth(part, text):
    """Two below one percent, one below ten; nothing has no sign."""
    assert text == difference_text(part, 10_000).replace("\u202f", " ")


def test_negative_sizes_have_a_minus_sign():
    """A hyphen would break away from its number."""
    assert "\u22121.50" == gib(-3 * GIB // 2)


def test_ratios_have_a_digit_below_ten():
    """6.0 times, 36 times."""
    assert ("6.0 times", "36 times") == (times(6.02), times(36.2))


def test_the_command_of_a_cell_names_what_differs_from_the_defaults():
    """And quotes what a shell would split."""
    cell = Cell(overrides={"chunk_size": 50}, precision="bf16", alloc_conf="a:1", used_by_others_bytes=5)
    words = shlex.split(cell_command(cell))
    assert ["--gpu", "RTX 3090"] == words[words.index("--gpu") :][:2]
    assert {"chunk_size=50", "bf16", "a:1", "5B"} <= set(words)
    assert not {"--capacity", "--optimizer"} & set(words)


def test_fields_of_any_kind_are_read_back_as_they_are():
    """Lists and constants as JSON, texts as they are."""
    overrides = {"replace": [1, "a"], "use_vae": False, "weights": None, "backbone": "resnet34", "rate": 0.5}
    words = shlex.split(cell_command(Cell(overrides=overrides)))
    assert overrides == parse_overrides(
        tuple(after for word, after in itertools.pairwise(words) if word == "--set")
    )


def test_how_gpus_share_goes_without_saying_where_their_number_says_it():
    """One alone, several by DDP; anything else is told."""
    assert says_strategy({(1, "none"), (2, "ddp")})
    assert not says_strategy({(1, "ddp"), (2, "ddp")})
    assert not says_strategy({(1, "none"), (2, "ddp"), (2, "fsdp")})
