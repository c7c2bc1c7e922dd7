"""Band and largest batch size are worked out once for each question, and again when any of it changes."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from convolving import ARCHITECTURE, with_convolution, with_plans
from handmade import make_device

from actprof.cell import Cell
from actprof.cudnn import Plan
from actprof.prediction import kept_limits
from actprof.prediction.kept_limits import limits_of
from actprof.replay.kernel_bytes import Kernels
from actprof.replay.replay import ReplayConditions, replay
from actprof.units import MIB

CONDITIONS = ReplayConditions(device=make_device(400 * MIB), kernels=Kernels(architecture=ARCHITECTURE))
CELL = Cell(gpu="RTX 3090", batch_size=4)


@pytest.fixture
def asked(make_trace, monkeypatch, tmp_path):
    """Return what `limits_of` takes, in a cache of its own."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    with_plans(monkeypatch, (Plan(1, 0, deterministic=True), Plan(2, 300 * MIB, deterministic=True)))
    trace = with_convolution(make_trace())
    return CELL, trace, CONDITIONS, replay(trace, 4, CONDITIONS.without_limit())


@pytest.fixture
def searches(monkeypatch):
    """Return the list that grows with every search for the largest batch size."""
    found, search = [], kept_limits.largest_batch

    def searching(*given):
        found.append(search(*given))
        return found[-1]

    monkeypatch.setattr(kept_limits, "largest_batch", searching)
    return found


def test_a_question_is_worked_out_once(asked, searches):
    """The second answer is the first, read back."""
    first = limits_of(*asked)

    assert first == limits_of(*asked)
    assert [first.largest] == searches
    assert first.band.allocated[0] < first.band.allocated[1]


def test_another_question_is_worked_out_anew(asked, searches):
    """Another device, another trace: what decides the answer finds it."""
    cell, trace, conditions, need = asked
    limits_of(*asked)
    limits_of(cell, trace, replace(conditions, device=make_device(800 * MIB)), need)
    longer = replace(trace.tensors, per_sample=2 * trace.tensors.per_sample)
    limits_of(cell, replace(trace, tensors=longer), conditions, need)

    assert 3 == len(searches)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"band": 1}'])
def test_a_damaged_file_is_worked_out_again(asked, searches, tmp_path, caplog, damage):
    """And said."""
    first = limits_of(*asked)
    next(tmp_path.glob("limits/*.json")).write_bytes(damage)

    with caplog.at_level(logging.WARNING):
        assert first == limits_of(*asked)
    assert 2 == len(searches)
    assert "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_changes_no_answer(asked, monkeypatch, tmp_path):
    """It is only worked out each time."""
    first = limits_of(*asked)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path / "file"))

    assert first == limits_of(*asked)
