"""The figures of a predicted step: few bars, in order, whose shares are those of the result."""

from __future__ import annotations

import pytest

import actprof
from actprof.explanation.explain import explain_cell
from actprof.prediction.predict import step_timeline
from actprof.report.explain_page import render_explanation
from actprof.report.palette import PHASES
from actprof.report.timeline_figure import (
    components_key,
    draw_lanes,
    draw_shares_over_time,
    phases_key,
    shares_key,
)

LIMITS = ("arithmetic", "bandwidth", "launches")


@pytest.fixture(scope="module")
def explained(session_cache):
    """Two runs whose trace comes with actprof: the host holds one up, the GPU the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTPROF_CACHE_DIR", session_cache)
        patch.setenv("ACTPROF_CONFIG_DIR", f"{session_cache}-without-configuration")
        return [actprof.explain(gpu="H100", batch_size=4), actprof.explain(gpu="T4", batch_size=16)]


@pytest.fixture(params=[0, 1], ids=["host", "GPU"])
def found(explained, request):
    """One of them."""
    return explained[request.param]


def bars(trace):
    return list(zip(trace.base, trace.x, trace.text, strict=True))


def test_lanes_are_in_order_and_within_the_step(found):
    """Bars of a lane do not overlap, however many kernels there are."""
    figure = draw_lanes(step_timeline(found.prediction), "act")
    for lane in figure.data:
        assert len(lane.x) < 300
        ends = [0.0, *(base + length for base, length, _ in bars(lane))]
        assert all(base >= end - 1e-3 for (base, _, _), end in zip(bars(lane), ends, strict=False))
        assert ends[-1] <= found.result.step_seconds.median * 1e3 + 1e-3
    host, _, gpu = figure.data
    assert ["forward", "backward", "optimizer"] == list(host.text)
    assert {"backbone", "encoder", "optimizer"} <= set(gpu.text)


def test_shares_are_those_of_the_result(found):
    """Areas make 100 % everywhere, and in the mean what the answer says of the step."""
    areas = draw_shares_over_time(step_timeline(found.prediction)).data
    columns = list(zip(*(area.y for area in areas), strict=True))

    assert all(sum(column) == pytest.approx(100, abs=0.2) for column in columns)
    means = [sum(area.y[:-1]) / len(area.y[:-1]) / 100 for area in areas]
    assert [found.result.work.shares[limit] for limit in LIMITS] == pytest.approx(means, abs=2e-3)


def test_a_host_that_waits_is_drawn_and_named(explained):
    """A slow GPU makes the host wait; a fast one does not."""
    waits = [draw_lanes(step_timeline(found.prediction), "act").data[1] for found in explained]
    keys = [dict(phases_key(step_timeline(found.prediction))) for found in explained]

    assert (0, True) == (len(waits[0].x), sum(waits[1].x) > 0)
    assert ["forward", "backward", "optimizer"] == list(keys[0])
    assert [*keys[0], "waits for the GPU"] == list(keys[1])
    assert PHASES["forward"] == keys[0]["forward"]


def test_keys_tell_colours_apart(found):
    """No two components, and no two shares, have the same."""
    timeline = step_timeline(found.prediction)
    for key in (components_key(timeline, "act"), shares_key()):
        assert len(key) == len({colour for _, colour in key})


def test_the_page_has_the_step_and_stays_small(explained):
    """With its figures, and the command that writes it for Perfetto."""
    text = render_explanation(explained[0])

    assert 'id="step"' in text
    assert "--perfetto step.json.gz" in text.replace('<span class="flag">', "").replace("</span>", "")
    assert len(text) < 1_500_000


def test_a_gpu_of_unknown_speed_has_no_step(seed):
    """Then the page has no such section."""
    found = explain_cell(seed(batch_size=8, gpu=None, capacity_bytes=8 << 30))

    assert step_timeline(found.prediction) is None
    assert 'id="step"' not in render_explanation(found)
