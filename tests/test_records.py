"""Records to JSON and back."""

from __future__ import annotations

import json

import pytest

from actprof.measurement import CardUse, Measurement, Spread, StepMemory
from actprof.records import from_plain, to_plain


def test_nested_records_survive_json():
    """What was written comes back equal, through JSON's own types only."""
    measurement = Measurement(
        data_seconds=Spread(low=1.0, median=2.0, high=3.0),
        step_memory=(StepMemory(peak_allocated_bytes=1, peak_reserved_bytes=2),) * 2,
        card=CardUse(samples=3, sm_clock_mhz=(210, 1980), throttle_reasons=("SwPowerCap",)),
    )
    text = json.dumps(to_plain(measurement))
    assert measurement == from_plain(Measurement, json.loads(text))


def test_what_an_older_file_lacks_takes_its_default():
    """Missing fields have defaults; unknown ones are ignored."""
    assert Measurement(steps=4) == from_plain(Measurement, {"steps": 4, "of_a_later_version": 1})


def test_a_missing_field_without_default_is_refused():
    """A spread needs all three."""
    with pytest.raises(TypeError, match="high"):
        from_plain(Spread, {"low": 1.0, "median": 2.0})


def test_the_spread_of_some_seconds():
    """Smallest, median, largest."""
    assert Spread(low=1.0, median=2.5, high=4.0) == Spread.of([4.0, 2.0, 1.0, 3.0])
