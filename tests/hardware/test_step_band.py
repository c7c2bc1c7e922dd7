"""The band of predicted step times, from residuals that are known."""

from __future__ import annotations

import math

import pytest

from actprof.hardware.step_band import EVIDENCE, StepEvidence, step_band


def known(gpu, *ratios, origin="published"):
    return [StepEvidence(gpu, ratio, origin) for ratio in ratios]


def test_three_step_times_of_a_gpu_make_its_band():
    """Off by a factor of 1.1 each: Student's 2.35 times as far to either side."""
    band = step_band("A", evidence=[*known("A", 1.1, 1.1, 1 / 1.1), *known("B", 3.0)])

    assert 1.1**2.35 == pytest.approx(band.high)
    assert 1.1**-2.35 == pytest.approx(band.low)
    assert "the band is that of the 3 step times known of the A" == band.source


def test_an_unknown_gpu_has_the_band_between_gpus():
    """However many step times one of them has, it is one GPU."""
    few = [*known("A", 1.2), *known("B", 1.2), *known("C", 1.2)]
    band = step_band("D", evidence=[*few, *known("A", *[1.2] * 50)])

    assert 1.2**2.35 == pytest.approx(band.high)
    assert band.source.startswith("no step times of the D are known")
    assert step_band("A", evidence=few).source.startswith("1 step time of the A is known")


def test_without_evidence_the_band_is_wide_and_says_so():
    """Two GPUs say too little of a third."""
    band = step_band("C", evidence=[*known("A", 1.0), *known("B", 1.0)])

    assert (0.4, 2.5) == (band.low, band.high)
    assert band.source.endswith("the band is a wide guess")


def test_what_was_measured_here_takes_the_place_of_what_others_published():
    """Of the same GPU."""
    measured = known("A", 1.05, 1.05, 1.05, origin="measured")
    assert 1.05**2.35 == pytest.approx(step_band("A", evidence=[*measured, *known("A", 9.0)]).high)


def test_the_shipped_bands_hold_what_they_rest_on():
    """Every known step time lies inside the band of its own GPU."""
    for item in EVIDENCE:
        band = step_band(item.gpu)
        assert band.low < item.ratio < band.high
        assert math.isclose(1.0, band.low * band.high)
