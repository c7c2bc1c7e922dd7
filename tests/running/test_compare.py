"""Two runs side by side: what is noise, what is worse, what changed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from test_observer import PREDICTION

from actprof.errors import UsageError
from actprof.measurement import Measurement, Spread
from actprof.results import MEASURED, Verdict
from actprof.running.compare import compare_runs
from actprof.running.noise import Samples, chance_of_none, exceeds_noise
from actprof.running.summary import RunSummary
from actprof.running.training_log import MEMORY_RESOLUTION_BYTES, LogLine
from actprof.units import GIB


def summary(update=0.2, *, data=0.001, spread=0.01, count=40, seed=0, **fields):
    """Return the summary of a run whose lines scatter around some seconds."""
    rng = random.Random(seed)  # noqa: S311 - the same noise each time
    lines = tuple(
        LogLine(step=i, at=float(i), update_seconds=update * (1 + rng.gauss(0, spread)), data_seconds=data)
        for i in range(1, count + 1)
    )
    measured = replace(
        PREDICTION, source=MEASURED, peak_reserved_bytes=0, max_batch_size=None,
        measurement=Measurement(resolution_bytes={"allocated": MEMORY_RESOLUTION_BYTES}),
    )  # fmt: skip
    given = {"command": "lerobot-train --seed=1", "predicted": PREDICTION, "measured": measured}
    return RunSummary(**{**given, "lines": lines, "versions": {"torch": "2.11.0"}, **fields})


def worse(found):
    return [quantity.name for quantity in found.quantities if quantity.worse]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_run_again_is_no_worse(seed):
    """Only its noise is another."""
    found = compare_runs(summary(seed=seed, spread=0.1), summary(seed=seed + 100, spread=0.1), tolerance=0.0)
    assert not found.worse


def test_slower_beyond_noise_is_worse_and_faster_is_not():
    """By a tenth, with a hundredth of noise; the first line does not count."""
    found, back = compare_runs(summary(0.2), summary(0.22)), compare_runs(summary(0.22), summary(0.2))
    assert (["update seconds", "step seconds"], []) == (worse(found), worse(back))
    assert any(quantity.beyond_noise for quantity in back.quantities)


def test_what_the_tolerance_allows_is_no_worse():
    """However sure the difference is."""
    assert [] == worse(compare_runs(summary(0.2), summary(0.206), tolerance=0.05))
    assert ["update seconds", "step seconds"] == worse(
        compare_runs(summary(0.2), summary(0.206), tolerance=0.01)
    )


def test_what_noise_hides_is_no_worse():
    """A tenth more with a half of noise, in ten lines."""
    noisy = {"spread": 0.5, "count": 10}
    assert [] == worse(compare_runs(summary(0.2, seed=1, **noisy), summary(0.21, seed=2, **noisy)))


def test_waiting_is_measured_by_the_whole_step():
    """Three times next to nothing is next to nothing; a fifth of a step is not."""
    assert [] == worse(compare_runs(summary(data=0.001), summary(data=0.003)))
    assert ["data wait seconds", "step seconds"] == worse(compare_runs(summary(), summary(data=0.05)))


def test_few_lines_must_not_overlap_at_all():
    """The test of ranks says nothing of three."""
    few = {"count": 4, "spread": 0.0}
    assert worse(compare_runs(summary(0.2, **few), summary(0.22, **few)))
    close = summary(0.2, count=4, spread=0.2), summary(0.21, count=4, spread=0.2, seed=7)
    assert [] == worse(compare_runs(*close))


def test_memory_has_the_noise_of_its_digits_and_of_the_predicted_band():
    """What lerobot prints ends at 0.01 GiB; plans of cuDNN shift more."""
    first = summary()
    for more, expected in ((0.004, []), (0.5, ["allocated bytes"])):
        measured = replace(
            first.measured, peak_allocated_bytes=first.measured.peak_allocated_bytes + int(more * GIB)
        )
        assert expected == worse(compare_runs(first, replace(first, measured=measured)))
    banded = replace(PREDICTION, peak_allocated_band_bytes=(3 * GIB, 5 * GIB))
    assert [] == worse(
        compare_runs(replace(first, predicted=banded), replace(first, predicted=banded, measured=measured))
    )


def test_two_predictions_have_no_noise():
    """Their bands are what they may be off by, both in the same way."""
    slower = replace(PREDICTION, step_seconds=Spread(low=0.11, median=0.19, high=0.33))
    assert ["update seconds"] == worse(compare_runs(PREDICTION, slower))


def test_a_prediction_beside_a_run_has_its_band():
    """A run inside of it is no worse than predicted; one beyond is."""
    assert [] == worse(compare_runs(PREDICTION, summary(0.28)))
    assert ["update seconds"] == worse(compare_runs(PREDICTION, summary(0.5)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("fits", "oom", True), ("fits", "tight", True), ("oom", "fits", False), ("tight", "tight", False)],
)
def test_a_verdict_that_falls_is_worse(before, after, expected):
    """Whatever the figures say."""
    first, second = (replace(PREDICTION, verdict=Verdict(text)) for text in (before, after))
    assert expected == compare_runs(first, second).worse


def test_what_changed_is_named():
    """Fields of the cell, versions, flags and variables; what both share is not."""
    cell = replace(PREDICTION.cell, batch_size=16, alloc_conf="expandable_segments:True")
    second = summary(
        command="PYTORCH_CUDA_ALLOC_CONF=x lerobot-train --seed=2 --batch_size=16",
        measured=replace(PREDICTION, cell=cell, source=MEASURED),
        versions={"torch": "2.12.0"},
    )
    changes = {
        change.name: (change.first, change.second) for change in compare_runs(summary(), second).changes
    }
    assert {
        "batch size": ("8", "16"),
        "alloc conf": ("", "expandable_segments:True"),
        "torch": ("2.11.0", "2.12.0"),
        "PYTORCH_CUDA_ALLOC_CONF": ("", "x"),
        "--seed": ("1", "2"),
    } == changes


def test_memory_on_a_cpu_is_not_compared_with_a_gpu():
    """Where nothing else is known either, that is an error."""
    on_cpu = summary(without_cuda="this run is on the CPU", measured=None, predicted=None)
    names = {quantity.name for quantity in compare_runs(on_cpu, summary()).quantities}
    assert {"update seconds", "data wait seconds", "step seconds"} == names
    with pytest.raises(UsageError, match="have no figure in common"):
        compare_runs(replace(on_cpu, lines=()), PREDICTION)


def test_the_chance_is_that_of_the_ranks():
    """Apart, alike, and as `scipy.stats.mannwhitneyu(…, alternative="greater")` has it for one example."""
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]
    assert pytest.approx(0.0061, abs=0.0001) == chance_of_none(low, high)
    assert 0.99 < chance_of_none(high, low)
    assert 1.0 == chance_of_none([1.0] * 5, [1.0] * 5)
    assert (True, False) == (
        exceeds_noise(Samples.of(low), Samples.of(high)), exceeds_noise(Samples.of(low), Samples.of(low))
    )  # fmt: skip
