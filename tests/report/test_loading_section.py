"""Measured data loading in the report of a sweep."""

from __future__ import annotations

import pytest
from loader_made import make_result as make_loading
from loader_made import make_row

from actprof.measurement import Spread
from actprof.report.loader_page import present_loading
from actprof.report.sweep_page import Report, render_report
from actprof.results import StepWork

WORK = StepWork(
    device_seconds=0.4, host_seconds=0.1, busy_share=1.0, bytes_per_sample=1,
    shares={"launches": 0.0, "arithmetic": 1.0, "bandwidth": 0.0},
)  # fmt: skip


@pytest.fixture
def timed(make_result):
    """Return a function that gives a cell whose step takes so many seconds."""

    def make(seconds, **fields):
        return make_result(
            step_seconds=Spread(low=seconds, median=seconds, high=seconds), work=WORK,
            samples_per_second=32 / seconds, limited_by="arithmetic", batch_size=32, **fields,
        )  # fmt: skip

    return make


def test_without_loading_there_is_no_section(timed):
    """And the page says that loading is left out."""
    report = Report(name="x", results=(timed(0.5),))
    page = render_report(report)

    assert present_loading(report.loading, report.results) is None
    assert 'id="loading"' not in page
    assert "actprof loader</code> measures it" in page


def test_a_step_is_held_against_loading_of_its_images(timed):
    """Of its size and cameras: 0.03 s a sample by two workers feed a batch of 32 in 1 s, not in 0.5 s."""
    for seconds, fits in ((1.0, True), (0.5, False)):
        ((step, feeds),) = present_loading(make_loading(), (timed(seconds),))["fed"]
        (pyav,) = [feed for feed, _said in feeds if str(feed.source) == "video 640x480, pyav"]

        assert fits == pyav.fits
        assert step.startswith("A step of batch 32 with two 640x480 cameras on RTX 3090")


@pytest.mark.parametrize("cell", [{"cameras": 1}, {"resolution": "320x240"}])
def test_loading_of_other_images_says_nothing_of_a_step(timed, cell):
    """Another number of cameras, or another size."""
    assert [] == present_loading(make_loading(), (timed(1.0, **cell),))["fed"]


def test_the_page_has_ratios_rates_and_reasons(timed):
    """And escapes what it is given."""
    page = render_report(Report(name="x", results=(timed(0.5),), loading=make_loading()))

    assert '<a href="#loading">' in page
    assert "4.0 times faster" in page
    assert "not measured: torchcodec finds no FFmpeg libraries" in page
    assert "<b>it</b>" not in page
    assert "too slow" in page


def test_a_result_in_which_nothing_was_measured_is_no_error(timed):
    """The reason stands there."""
    row = make_row(batch_seconds=None, reason="no such codec")
    page = render_report(Report(name="x", results=(timed(0.5),), loading=make_loading(rows=(row,))))
    assert "not measured: no such codec" in page
