"""Colours."""

import pytest

from actprof.report import palette
from actprof.units import GIB


def test_text_in_every_shade_can_be_read():
    """At least 4.5 to one, over the whole scale."""
    low, high = palette.SHADES
    shades = [palette.colour_at(low + (high - low) * i / 500) for i in range(501)]
    assert 4.5 <= min(palette.contrast(colour, palette.text_on(colour)) for colour in shades)


@pytest.mark.parametrize("page", ["#ffffff", "#15181d"])
def test_marks_stand_out_from_both_pages(page):
    """At least three to one, the measure for graphical objects."""
    colours = [palette.allocator_mark(i)[0] for i in range(6)] + [
        palette.component_colour(i) for i in range(7)
    ]
    colours += palette.LIMITS.values()
    assert 3 <= min(palette.contrast(colour, page) for colour in colours)


def test_the_verdict_decides_the_hue_and_the_share_the_depth(make_result):
    """A tight run that flushed its cache needs more than the device, and is not shown as out of memory."""
    needs = {"error": [0], "unknown": [0], "fits": [6, 18], "tight": [25], "oom": [23, 36, 99]}
    shades = [
        palette.shade(make_result(verdict=verdict, need=gibs * GIB))
        for verdict, some in needs.items()
        for gibs in some
    ]
    assert [-0.3, -0.1, 0.25, 0.75, 1.1, 1.2, 1.7, 2.2] == pytest.approx(shades)


def test_plotly_gets_the_scale_from_zero_to_one():
    """Ascending, with both ends."""
    places = [place for place, _ in palette.colour_scale()]
    assert (0, 1) == (places[0], places[-1])
    assert sorted(places) == places


def test_neighbouring_settings_differ_in_shape_too():
    """Colour is never the only difference."""
    assert 4 == len({palette.allocator_mark(i)[1] for i in range(4)})


@pytest.mark.parametrize("count", [1, 10, 11, 30])
def test_no_two_devices_share_a_colour(count):
    """However many there are; each stands out from both pages."""
    colours = {palette.device_colour(index, count) for index in range(count)}
    assert count == len(colours)
    assert 3 <= min(palette.contrast(colour, page) for colour in colours for page in ("#ffffff", "#15181d"))
