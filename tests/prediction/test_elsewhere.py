"""Predictions for another machine: what decides them travels, and what cannot is compared."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from handmade import build_trace

from actprof.errors import TraceError
from actprof.hardware import builtin_catalogue
from actprof.prediction import elsewhere, many
from actprof.prediction.elsewhere import OtherInstallationError, circumstances_here, predict_elsewhere
from actprof.prediction.many import predict_each
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import InThisProcess, Workers
from actprof.processes.remote import RemoteExecutor
from actprof.results import Result
from actprof.trace.cache import cached_trace, key_text, save_trace
from actprof.trace.storage import trace_to_bytes


class Nearby(RemoteExecutor, InThisProcess):
    """A machine that is this one: what travels to it is counted."""

    window = 4
    doing = "nearby"

    def __init__(self):
        self.kept, self.asked = [], []

    def keep(self, value):
        self.kept.append(value)
        return value

    def submit(self, fn, /, *args, **kwargs):
        self.asked.append((fn, args))
        return super().submit(fn, *pickle.loads(pickle.dumps(args)), **kwargs)  # noqa: S301 - our own


@pytest.fixture
def nearby():
    return Nearby()


def told(**more):
    return pickle.dumps(replace(circumstances_here(builtin_catalogue()), **more))


def lent(cell):
    return elsewhere.LentTrace(key_text(cell), trace_to_bytes(cached_trace(cell)), shipped=False)


def plain(result):
    return {**result.to_json(), "timing": None}


def test_a_trace_travels_once_and_the_answer_is_the_same(seed, nearby):
    """However many cells there are."""
    cells = [seed(batch_size=size) for size in (8, 16, 32)]
    answers = predict_each(cells, builtin_catalogue(), Workers(executor=nearby))

    assert [plain(predict_cell(cell)) for cell in cells] == [plain(answer) for answer in answers]
    assert [bytes, elsewhere.LentTrace] == [type(value) for value in nearby.kept]
    assert 3 == len(nearby.asked)


def test_a_second_trace_that_turns_out_to_be_needed_is_sent(seed, nearby):
    """A single sample has its own, and its largest batch size needs the others': the next cell gets both."""
    single = replace(build_trace(), fixed_batch_size=1, batch_sizes=(1,))
    cells = [seed(batch_size=1, gpu=gpu, trace=single) for gpu in ("RTX 3090", "T4")]
    seed(batch_size=2)
    answers = predict_each(cells, builtin_catalogue(), Workers(executor=nearby))

    assert [plain(predict_cell(cell)) for cell in cells] == [plain(answer) for answer in answers]
    assert [3, 4, 4] == sorted(len(args) for _function, args in nearby.asked)[:3]


def test_what_this_machine_knows_of_speed_and_versions_holds_there(seed, monkeypatch):
    """Not what that one knows."""
    cell = seed()
    monkeypatch.setenv("ACTPROF_HOST", "B200")
    here, circumstances = predict_cell(cell), told(versions={"torch": "2.9.0", "lerobot": "0.4.4"})
    monkeypatch.setenv("ACTPROF_HOST", "no such host")
    there = predict_elsewhere(cell, circumstances, lent(cell))

    assert here.step_seconds == there.step_seconds
    assert ("2.9.0", "0.4.4") == (there.versions["torch"], there.versions["lerobot"])


def test_a_machine_makes_no_trace_of_its_own(seed, small_cell):
    """It says which one it needs."""
    cell = seed()

    assert cell == predict_elsewhere(cell, told())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"code": "older"}, "has another actprof than this machine"),
        (
            {"cudnn": "90100"},
            "has .*cuDNN.* and this machine cuDNN 90100, .*pip install 'actprof\\[cudnn\\]'",
        ),
    ],
)
def test_a_machine_with_another_installation_is_refused(seed, more, words):
    """Its answers could be others."""
    cell = seed()
    with pytest.raises(OtherInstallationError, match=words):
        predict_elsewhere(cell, told(**more), lent(cell))


def test_a_refusal_ends_a_sweep(seed, nearby, monkeypatch):
    """No row says it."""
    cells = [seed(batch_size=size) for size in (8, 16)]
    older = replace(circumstances_here(builtin_catalogue()), code="older")
    monkeypatch.setattr(elsewhere, "circumstances_here", lambda _gpus: older)
    with pytest.raises(OtherInstallationError):
        predict_each(cells, builtin_catalogue(), Workers(executor=nearby))


def make_trace_of(cell):
    save_trace(build_trace(), cell)


def fail(_cell):
    raise TraceError("no fake for this op")


@pytest.mark.parametrize("made_there", [True, False])
def test_a_trace_is_made_there_or_else_at_home(seed, nearby, monkeypatch, made_there):
    """And kept here, for all that need it."""
    cells = [replace(seed(), overrides={"chunk_size": 9}, batch_size=size) for size in (8, 16)]
    there = trace_to_bytes(build_trace()) if made_there else None
    monkeypatch.setattr(many, "TRACE", lambda _cell, _told: there)
    monkeypatch.setattr(many, "trace_task", fail if made_there else make_trace_of)
    answers = predict_each(cells, builtin_catalogue(), Workers(executor=nearby))

    assert ["fits", "fits"] == [answer.verdict for answer in answers]
    assert cached_trace(cells[0]) is not None


def test_a_trace_that_can_be_made_nowhere_is_the_reason_of_all_its_cells(seed, nearby, monkeypatch):
    """Those that came while it was tried, and those after."""
    cells = [replace(seed(), overrides={"chunk_size": 9}, batch_size=size) for size in range(8, 24)]
    monkeypatch.setattr(many, "TRACE", lambda _cell, _told: None)
    monkeypatch.setattr(many, "trace_task", fail)
    answers = predict_each(cells, builtin_catalogue(), Workers(executor=nearby))

    assert {"no fake for this op"} == {str(answer) for answer in answers}


def test_a_machine_that_asks_again_for_what_it_has_is_not_asked_for_ever(seed, nearby, monkeypatch):
    """It is an error of that cell."""
    cell = seed()
    monkeypatch.setattr(many, "PREDICT", lambda cell, *_told: cell)
    (answer,) = predict_each([cell], builtin_catalogue(), Workers(executor=nearby))

    assert not isinstance(answer, Result)
    assert "is there, and does not hold" in str(answer)
