"""Whatever 500 runs ask for, a sweep leaves 500 rows."""

from __future__ import annotations

import random

from handmade import build_trace

from actprof.api.reports import write_report
from actprof.cell import CHANGES, Cell
from actprof.errors import DiedError, FieldError, TraceError, UsageError
from actprof.hardware import builtin_catalogue
from actprof.prediction import many
from actprof.processes.pool import InThisProcess, Workers
from actprof.results import Verdict
from actprof.scenario.grid import Scenario
from actprof.sweeps.runner import run_sweep
from actprof.sweeps.store import ResultsStore
from actprof.sweeps.table import results_frame, write_csv
from actprof.trace.cache import save_trace

RUNS = 500
SIZES = ("640x480", "1x1", "7x3", "64x64", "4096x2160", "65535x65535")
GPUS = ("RTX 3090", "T4", "H100 SXM 80GB", None, "no such card", "")
CONFS = (
    "", "expandable_segments:True", "max_split_size_mb:128", "garbage_collection_threshold:0.7",
    "roundup_power2_divisions:4", "max_split_size_mb:-1", "nonsense", ":", "\x1b[31m",
)  # fmt: skip
OVERRIDES = (
    {"chunk_size": 7}, {}, {"chunk_size": "abc"}, {"chunk_size": [1]}, {"chunk_size": 10**9},
    {"chunck_size": 5}, {"dropout": float("nan")}, {"a": {"b": None}}, {"compile_model": True},
    {"\u202ex": "\ud800"},
)  # fmt: skip
ERRORS = (
    UsageError("smolvla needs transformers"), FieldError("chunk_size is 'abc'", "chunk_size"),
    TraceError("no fake"), DiedError("was killed"), MemoryError(), RecursionError("deep"), KeyError("x"),
    ValueError("\x1b]0;\x07"), OSError(28, "No space left on device"), AssertionError(),
)  # fmt: skip


def any_cell(chance: random.Random) -> Cell | None:
    """Return a run as somebody might ask for, or None where it cannot even be described."""
    power = chance.uniform(0, 9)
    try:
        return Cell(
            policy=chance.choice(("act", "diffusion", "smolvla", "pi0", "xvla")),
            overrides=chance.choice(OVERRIDES),
            cameras=chance.choice((0, 1, 2, 3, 50)),
            resolution=chance.choice(SIZES),
            batch_size=int(10**power),
            accumulate=chance.choice((1, 1, 2, 1000)),
            gpu=chance.choice(GPUS),
            capacity_bytes=chance.choice((None, None, 1, 1000, 24 << 30, 1 << 60)),
            used_by_others_bytes=chance.choice((0, 0, 30 << 30, 1 << 62)),
            alloc_conf=chance.choice(CONFS),
            changes=tuple(chance.sample(CHANGES, chance.choice((0, 0, 1)))),
        )
    except UsageError:
        return None


def test_five_hundred_fuzzed_runs_leave_five_hundred_rows(tmp_path, monkeypatch):
    """Each has a verdict, or a reason why it cannot be told; table and report are made of them all."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path / "cache"))
    chance = random.Random(14)  # noqa: S311 - no secret
    cells: dict[str, Cell] = {}
    while len(cells) < RUNS:
        if cell := any_cell(chance):
            cells[cell.identity()] = cell
    traces = {0: build_trace(), 1: build_trace(activation=1 << 30), 2: build_trace(weights=1 << 36)}
    predict = many.predict_task

    def trace(cell):
        number = chance.randrange(5)
        if number not in traces:
            raise chance.choice(ERRORS)
        save_trace(traces[number], cell)

    def fail_now_and_then(cell, catalogue):
        if chance.random() < 0.05:
            raise chance.choice(ERRORS)
        return predict(cell, catalogue)

    monkeypatch.setattr(many, "cached_trace", cached(many.cached_trace))
    monkeypatch.setattr(many, "trace_task", trace)
    for module in ("largest_batch", "predict"):  # nothing is really traced, not for a batch of one either
        monkeypatch.setattr(f"actprof.prediction.{module}.trace_for", lambda _cell: (traces[0], True))
    monkeypatch.setattr(many, "predict_task", fail_now_and_then)
    scenario = Scenario(cells=tuple(cells.values()), axes={}, fixed={}, catalogue=builtin_catalogue())
    with ResultsStore(tmp_path) as store:
        results = run_sweep(scenario, store, workers=Workers(executor=InThisProcess()))
        store.put_meta({"cells": [cell.to_json() for cell in scenario.cells], "name": "fuzz"})

    assert RUNS == len(results) == len(results_frame(results))
    assert {Verdict.FITS, Verdict.OOM, Verdict.UNKNOWN} <= {result.verdict for result in results}
    assert [] == [result for result in results if result.verdict == Verdict.UNKNOWN and not result.reason]
    write_csv(results_frame(results), tmp_path / "results.csv")
    assert write_report(tmp_path).is_file()


def cached(real):
    """Let no shipped trace stand in for the hand-made ones."""

    def hand_made(cell):
        found = real(cell)
        return None if found is None or found.shipped else found

    return hand_made
