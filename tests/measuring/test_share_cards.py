"""Which runs are on a GPU at the same time: never more than its memory holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import CARD

from actprof.cell import Cell
from actprof.hardware import builtin_catalogue
from actprof.measuring.choose_device import Choice
from actprof.measuring.share_cards import Cards, equal_gpus, most_bytes
from actprof.results import GpuUse, Result, Verdict
from actprof.units import GIB

ALONE = Choice(type="cuda", gpu=CARD, reason="it is there")
OTHER = replace(CARD, index=4, uuid="GPU-2")
USE = GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=0)


def predicted(**fields):
    """Return a prediction of 10 GiB, 11 GiB in some runs, on 24 GiB."""
    plain = {
        "source": "predicted",
        "cell": Cell(gpu="RTX 3090", cudnn_benchmark=False),
        "gpu": USE,
        "verdict": Verdict.FITS,
        "headroom_bytes": 14 * GIB,
        "peak_reserved_band_bytes": (9 * GIB, 11 * GIB),
    }
    return Result(**plain | fields)


def most(result, choice=ALONE):
    return most_bytes(result, choice, builtin_catalogue())


def test_a_run_takes_the_high_end_of_its_band_and_a_context():
    """And a tenth, and half a GiB for libraries; two and a half times as much while plans are tried."""
    context = CARD.as_card(builtin_catalogue()).context_bytes + GIB // 2
    trying = predicted(cell=Cell(gpu="RTX 3090"))

    assert int(1.1 * 11 * GIB) + context == most(predicted())
    assert int(2.5 * 11 * GIB) + context == most(trying)


def test_no_run_takes_more_than_it_is_held_to():
    """PyTorch reserves no more than the cap."""
    capped = replace(ALONE, cap_bytes=23 * GIB)
    trying = predicted(cell=Cell(gpu="RTX 3090"))

    assert most(trying, capped) - most(predicted(), capped) == 23 * GIB - int(1.1 * 11 * GIB)


@pytest.mark.parametrize("verdict", [Verdict.TIGHT, Verdict.OOM, Verdict.UNKNOWN])
def test_what_does_not_surely_fit_runs_alone(verdict):
    """And what was not predicted."""
    assert most(predicted(verdict=verdict)) is None
    assert most(None) is None


@given(st.lists(st.tuples(st.integers(-1, 60), st.booleans()), max_size=40))
def test_what_is_on_a_gpu_fits(moves):
    """A run that must be alone is alone; others never add up to more than is free; an empty GPU takes any."""
    cards, running = Cards(), []
    choices = [ALONE, replace(ALONE, gpu=OTHER)]
    for gib, begins in moves:
        size = None if gib < 0 else gib * GIB
        if begins:
            choice = cards.place(choices, size)
            empty = len({choice.gpu.uuid for choice, _size in running}) < 2
            assert choice is not None or not empty
            if choice is not None:
                cards.begin(choice, size)
                running.append((choice, size))
        elif running:
            cards.end(*running.pop(0))
        for gpu in (CARD, OTHER):
            sizes = [size for choice, size in running if choice.gpu == gpu]
            assert len(sizes) <= 1 or (None not in sizes and sum(sizes) <= 0.97 * gpu.free_bytes)


def test_a_gpu_is_equal_to_those_of_its_make_that_are_as_free():
    """Not to another card, nor to one that others use."""
    here = [
        CARD,
        OTHER,
        replace(OTHER, index=5, name="NVIDIA A100-SXM4-80GB"),
        replace(OTHER, index=6, free_bytes=40 * GIB),
        replace(OTHER, index=7, driver="600.1"),
    ]
    assert [OTHER] == equal_gpus(ALONE, here)
    assert [] == equal_gpus(Choice(type="cpu", reason="as asked"), here)
