"""Words and numbers for readers."""

import itertools
import shlex

import pytest

from actprof.cell import Cell
from actprof.cli.options import parse_overrides
from actprof.units import GIB
from actprof.words import (
    cameras_text,
    cell_command,
    difference_text,
    gib,
    join,
    percent,
    rate_text,
    spell,
    times,
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
