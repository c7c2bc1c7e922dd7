"""What a profiler saw of real steps on an H100, beside what is predicted: kernels and the device's time.

Two profiles are with the reports, three more are compared where the folder of measured runs is there.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "profiles.py"


def _script():
    spec = importlib.util.spec_from_file_location("profiles", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its records look themselves up there
    spec.loader.exec_module(module)
    return module


profiles = _script()
FILES = [pytest.param(path, id=path.name.partition(".")[0]) for path in (*profiles.OWN, *profiles.SHARED)]


@pytest.fixture(scope="module", params=FILES)
def profile(request):
    return profiles.read_profile(request.param)


def test_kernels_are_counted_within_a_twentieth(profile):
    """Conversions, clearings and split sums included."""
    assert len(profile.step.kernels) == pytest.approx(len(profile.device), rel=0.05)


def test_the_device_works_as_long_as_it_did_within_eight_hundredths(profile):
    """From the first kernel of the forward pass to the last of the optimizer."""
    assert profile.step.played.device_seconds == pytest.approx(profile.device_seconds, rel=0.08)


def test_most_ops_launch_what_was_seen(profile):
    """Of the ops that both have: three of four launch exactly as many kernels."""
    kernels = {}
    for row in profile.step.rows:
        kernels[row] = kernels.get(row, 0) + 1
    matched = [row for row in kernels if profile.seen.get(row)]
    alike = [row for row in matched if kernels[row] == len(profile.seen[row])]

    assert len(matched) > 0.9 * len(kernels)
    assert len(alike) > 0.75 * len(matched)
