"""From results to rows of the accuracy ledger: what can be compared, and on which card it ran."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_rows import CELL, DEVICE, OOM, RUN, result

from actprof.ledger.comparison import Figures, figures_of
from actprof.ledger.row import row_of
from actprof.measurement import CardUse, Measurement, Spread
from actprof.units import GIB, MIB


def test_a_step_is_compared_of_runs_on_the_gpu_itself():
    """Not of one that ran out, nor of a GPU that stood in for another."""
    step = Spread(low=0.4, median=0.5, high=0.7)

    assert 0.5 == figures_of(result(step_seconds=step)).step_seconds
    assert figures_of(result(step_seconds=step, verdict="oom", oom=OOM)).step_seconds is None
    capped = replace(RUN, cap_bytes=GIB)
    assert figures_of(result(step_seconds=step, measurement=capped)).step_seconds is None
    assert 0.5 == figures_of(result("predicted", step_seconds=step)).step_seconds


def test_a_row_has_the_run_and_what_was_measured():
    """Device, versions, driver, date and command are the measurement's; nothing is predicted yet."""
    row = row_of(result())

    assert ("measured", "NVIDIA GeForce RTX 3090") == (row.origin, row.gpu)
    assert {"torch": "2.11.0", "driver": "580.95", "cuda": "12.8", "cudnn": "9.1.0"} == row.versions
    assert ("2026-01-02", "actprof measure") == (row.date, row.command)
    assert (CELL, 10 * GIB, Figures()) == (row.cell, row.measured.allocated_bytes, row.predicted)


def test_a_run_that_ran_out_has_no_peaks_but_its_message():
    """It ended before them; tried and in use are what PyTorch said."""
    figures = figures_of(result(verdict="oom", oom=OOM))

    assert Figures(verdict="oom", tried_bytes=76 * MIB, in_use_bytes=round(20.94 * GIB)) == figures


def test_a_predicted_run_that_runs_out_keeps_its_peaks():
    """They are of a device without limit."""
    assert 10 * GIB == figures_of(result("predicted", verdict="oom", oom=OOM)).allocated_bytes


def test_a_run_that_flushed_its_cache_has_no_reserved_bytes_to_compare():
    """They show the device's limit; allocated bytes do not."""
    figures = figures_of(result(retries=1))

    assert (10 * GIB, None, None) == (
        figures.allocated_bytes, figures.reserved_bytes, figures.process_bytes,
    )  # fmt: skip


@pytest.mark.parametrize(
    "run", [None, Measurement(), replace(RUN, cap_bytes=GIB), replace(RUN, card=CardUse(samples=3))]
)
def test_a_process_is_compared_only_where_it_was_seen_on_the_cells_own_gpu(run):
    """Not where NVML did not name it, nor where a larger GPU stood in."""
    figures = figures_of(result(measurement=run))

    assert (10 * GIB + GIB // 2, None) == (figures.reserved_bytes, figures.process_bytes)
    assert 11 * GIB == figures_of(result()).process_bytes


def test_a_gpu_that_played_another_is_what_ran():
    """Its kernels and cuDNN's plans are its own, its room and cuBLAS' workspace those of the played one."""
    device = replace(DEVICE, name="NVIDIA H100 80GB HBM3")
    row = row_of(result(device=device, measurement=replace(RUN, cap_bytes=GIB)))

    assert "NVIDIA H100 80GB HBM3 as RTX 3090" == row.gpu
    assert replace(CELL, gpu="H100 80 GB") == row.cell
    assert (GIB, 8_519_680) == (row.held_to_bytes, row.cublas_workspace_bytes)
    assert row.name.endswith("NVIDIA H100 80GB HBM3 as RTX 3090, limited to 1.00 GiB")


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 3090", "a card of tomorrow"])
def test_a_card_held_to_less_memory_of_its_own_plays_nobody(name):
    """Nor can one that the catalogue does not have be predicted in its own right."""
    row = row_of(result(device=replace(DEVICE, name=name), measurement=replace(RUN, cap_bytes=GIB)))

    assert (CELL, None) == (row.cell, row.held_to_bytes)


def test_bands_and_the_sure_batch_size_are_kept():
    """Of a prediction; a measurement has neither."""
    predicted = result(
        "predicted",
        peak_allocated_band_bytes=(1, 2),
        peak_reserved_band_bytes=(3, 4),
        surely_fits_batch_size=50,
        max_batch_size=57,
    )
    figures = figures_of(predicted)

    assert ((1, 2), (3, 4)) == (figures.allocated_band_bytes, figures.reserved_band_bytes)
    assert (50, 57) == (figures.surely_fits_batch_size, figures.max_batch_size)


@pytest.mark.parametrize("verdict", ["unknown", "error"])
def test_what_nobody_knows_is_not_compared(verdict):
    """No figure at all."""
    assert Figures() == figures_of(result(verdict=verdict))
