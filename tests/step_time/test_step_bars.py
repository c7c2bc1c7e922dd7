"""The bars of step times, on the rows of the accuracy ledger that fitted no constant."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from statistics import median

import pytest

from actprof.cell import Cell
from actprof.hardware import find_gpu
from actprof.ledger.keep import read_rows
from actprof.step_time.band import known_steps
from actprof.step_time.predict import predict_step_time
from actprof.trace.cache import trace_for

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_script("profiles")
script = _script("step_time")


@pytest.fixture(scope="module")
def scored():
    """Return every row with a step time, as it is predicted now."""
    return [script.score(row) for row in read_rows(script.LEDGER) if row.measured.step_seconds]


def off(rows):
    return sorted(abs(one.ratio - 1) for one in rows)


def test_device_bound_steps_of_the_h100_are_within_six_hundredths(scored):
    """In the median, and within 12 % at worst; those that helped to fit half precision are no worse."""
    errors = off(one for one in scored if one.row.origin == "measured" and not one.host_bound)

    assert len(errors) >= 4
    assert median(errors) < 0.06
    assert errors[-1] < 0.12


def test_host_bound_steps_of_the_h100_lie_in_the_band_that_says_so(scored):
    """Repeats of one step differ by 30 %."""
    rows = [one for one in scored if one.row.origin == "measured" and one.host_bound]

    assert len(rows) >= 13
    assert all(one.low <= one.measured <= one.high for one in rows)


def test_published_steps_are_met_within_an_eighth(scored):
    """In the median, and within 30 % at worst; no row counts that a constant was fitted to."""
    errors = off(one for one in scored if one.row.origin == "published" and not one.fitted)

    assert len(errors) >= 18
    assert median(errors) < 0.12
    assert errors[-1] < 0.30


def test_no_card_is_always_wrong_by_more_than_a_fifth(scored):
    """Its rows together, those that fitted something left out: what another card would have to expect."""
    cards = script.by_card(one for one in scored if not one.fitted)

    assert len(cards) >= 9
    assert all(0.8 < median(ratios) < 1.25 for ratios in cards.values())


def test_nine_of_ten_lie_inside_the_band_that_other_cards_make(scored):
    """One card left out at a time."""
    tests = [one for one in scored if not one.fitted]
    assert sum(map(script.inside_without_its_card, tests)) >= 0.9 * len(tests)


def test_the_band_rests_on_the_ledger(scored):
    """`residuals.toml` is what `benchmarks/step_time.py --write` makes of it, to a hundredth."""
    expected = sorted((one.card, round(1 / one.ratio, 3), one.host_bound) for one in scored if not one.fitted)
    shipped = sorted((item.gpu, item.ratio, item.host_bound) for item in known_steps())

    assert [(gpu, bound) for gpu, _ratio, bound in expected] == [
        (gpu, bound) for gpu, _ratio, bound in shipped
    ]
    for (_gpu, ratio, _bound), (_same, known, _kind) in zip(expected, shipped, strict=True):
        assert known == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(
    ("resolution", "batch_size", "limit", "busy"),
    [("224x224", 8, "launches", (0.0105, 0.0127)), ("640x480", 32, None, (0.0965, 0.1095))],
)
def test_limits_of_the_h100_are_named_right(resolution, batch_size, limit, busy):
    """Busy for 12 of 41 ms with small images, for 103 of 110 with large ones."""
    chunk = {"chunk_size": 50, "n_action_steps": 50}
    cell = Cell(resolution=resolution, batch_size=batch_size, gpu="H100 80 GB", overrides=chunk)
    found = predict_step_time(trace_for(cell)[0], batch_size, find_gpu(cell.gpu))
    low, high = busy

    assert low < found.work.device_seconds < high
    assert (found.limited_by == "launches") == (limit == "launches")
    assert found.work.host_seconds == pytest.approx(0.041, rel=0.15)


def test_act_on_a_b200_is_launch_bound():
    """One camera and state 14, as in lerobot's issue 4612: the GPU busy for about 30 %."""
    cell = Cell(cameras=1, batch_size=8, state_dim=14, action_dim=14, gpu="B200")
    found = predict_step_time(trace_for(cell)[0], 8, find_gpu("B200"))

    assert "launches" == found.limited_by
    assert 0.2 < found.work.busy_share < 0.45
