"""The band of predicted step times, from residuals that are known."""

from __future__ import annotations

import math

import pytest

from actprof.step_time.band import StepEvidence, known_steps, step_band


def known(gpu, *ratios, host_bound=False):
    return [StepEvidence(gpu, ratio, host_bound) for ratio in ratios]


def band_of(gpu, evidence, *, host_bound=False):
    return step_band(gpu, host_bound=host_bound, evidence=evidence)


def test_three_step_times_of_a_gpu_make_its_band():
    """Off by a factor of 1.1 each: Student's 2.35 times as far to either side."""
    band = band_of("A", [*known("A", 1.1, 1.1, 1 / 1.1), *known("B", 3.0)])

    assert 1.1**2.35 == pytest.approx(band.high)
    assert 1.1**-2.35 == pytest.approx(band.low)
    assert "3 steps of the A" in band.source


def test_an_unknown_gpu_has_the_band_between_gpus():
    """However many step times one of them has, it is one GPU."""
    few = [*known("A", 1.2), *known("B", 1.2), *known("C", 1.2)]
    band = band_of("D", [*few, *known("A", *[1.2] * 50)])

    assert 1.2**2.35 == pytest.approx(band.high)
    assert band.source.endswith("of which none is of the D")
    assert band_of("A", few).source.endswith("of which one is of the A")


def test_how_one_gpu_repeats_itself_widens_the_band_of_others():
    """Steps of one machine that differ among themselves would on another as well."""
    alike = [*known("A", 1.0, 1.0), *known("B", 1.0), *known("C", 1.0)]
    scattered = [*known("A", 1.1, 1 / 1.1), *known("B", 1.0), *known("C", 1.0)]

    assert 1.0 == band_of("D", alike).high < band_of("D", scattered).high


def test_steps_that_the_host_holds_up_have_a_band_of_their_own():
    """What is known of the one kind says nothing of the other."""
    evidence = [*known("A", 1.5, 1.5, 1.5, host_bound=True), *known("A", 1.1, 1.1, 1.1)]

    assert 1.1**2.35 == pytest.approx(band_of("A", evidence).high)
    assert 1.5**2.35 == pytest.approx(band_of("A", evidence, host_bound=True).high)


def test_without_evidence_the_band_is_wide_and_says_so():
    """Two GPUs say too little of a third."""
    band = band_of("C", [*known("A", 1.0), *known("B", 1.0)])

    assert (0.4, 2.5) == (band.low, band.high)
    assert band.source.endswith("the band is a wide guess")


def test_the_shipped_bands_are_symmetric_and_of_several_gpus():
    """Of both kinds; nine of ten steps lie inside the band of their own GPU."""
    steps = known_steps()
    inside = 0
    for item in steps:
        band = step_band(item.gpu, host_bound=item.host_bound)
        inside += band.low <= item.ratio <= band.high
        assert math.isclose(1.0, band.low * band.high)

    assert all(len({item.gpu for item in steps if item.host_bound == kind}) >= 3 for kind in (True, False))
    assert inside >= 0.9 * len(steps)
