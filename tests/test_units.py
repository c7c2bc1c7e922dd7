"""Sizes and durations as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actprof.errors import UsageError
from actprof.units import GIB, KIB, MIB, exact_bytes, format_bytes, format_seconds, parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1048576", MIB),
        (1048576, MIB),
        ("512 MiB", 512 * MIB),
        ("  1kib ", KIB),
        (".5GiB", GIB // 2),
        ("24GB", 24 * 10**9),
        ("1.5TiB", 1536 * GIB),
        ("3tb", 3 * 10**12),
    ],
)
def test_sizes_are_read_with_their_units(text, expected):
    """GiB is a power of 1024, GB a power of 1000, a bare number is bytes."""
    assert expected == parse_bytes(text)


@given(st.one_of(st.integers(0, 1 << 50), st.integers(0, 10_000).map(lambda tenths: tenths * GIB // 10)))
def test_a_size_for_a_command_is_read_back(count):
    """In few digits where there are few."""
    assert count == parse_bytes(exact_bytes(count))
    assert "2.3GiB" == exact_bytes(parse_bytes("2.3GiB"))


@pytest.mark.parametrize("text", ["", "GiB", "12 parsecs", "-1GiB", "1,5GiB", "1e3", "1.2.3MB"])
def test_what_is_no_size_is_refused_with_an_example(text):
    """The message repeats the text and shows how to write a size."""
    with pytest.raises(UsageError) as caught:
        parse_bytes(text)
    assert f"{text!r} is not a size; write it like 23.69GiB, 512MiB or 24GB" == str(caught.value)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (KIB, "1.00 KiB"),
        (708 * MIB, "708.00 MiB"),
        (GIB - 1, "1024.00 MiB"),
        (GIB, "1.00 GiB"),
        (-2 * GIB, "-2.00 GiB"),
    ],
)
def test_sizes_are_shown_in_the_largest_binary_unit(count, expected):
    """The unit is the largest that keeps the number at or above one."""
    assert expected == format_bytes(count)


@given(st.integers(min_value=0, max_value=10**15))
def test_a_size_in_bytes_survives_the_way_to_text_and_back(count):
    """A bare number means exactly itself."""
    assert count == parse_bytes(str(count))


@given(st.integers(min_value=KIB, max_value=1000 * GIB))
def test_a_shown_size_can_be_read_again(count):
    """What is printed is off by at most half of its last digit."""
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.47, "470 ms"),
        (0.9996, "1.00 s"),
        (1.1, "1.10 s"),
        (59.5, "59.50 s"),
        (60, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_shown_with_a_sensible_unit(seconds, expected):
    """Milliseconds, seconds, minutes, hours, by size."""
    assert expected == format_seconds(seconds)
