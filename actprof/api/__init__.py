"""The functions of the public API; the command line only calls these."""

from __future__ import annotations

from actprof.api.cells import DEFAULT_GPU, make_cell
from actprof.api.ledger import accuracy
from actprof.api.measurements import (
    compare_snapshot,
    keep_loading,
    measure,
    measure_lines,
    measure_loader,
    write_loader_page,
)
from actprof.api.runs import explain, params, predict, preflight, reach, suggest, write_explanation_page
from actprof.api.scenarios import CSV_NAME, REPORT_NAME, check, load_scenario, sweep, write_report
from actprof.api.snapshots import replay_snapshot, verify_snapshot, write_replay_page

__all__ = [
    "CSV_NAME",
    "DEFAULT_GPU",
    "REPORT_NAME",
    "accuracy",
    "check",
    "compare_snapshot",
    "explain",
    "keep_loading",
    "load_scenario",
    "make_cell",
    "measure",
    "measure_lines",
    "measure_loader",
    "params",
    "predict",
    "preflight",
    "reach",
    "replay_snapshot",
    "suggest",
    "sweep",
    "verify_snapshot",
    "write_explanation_page",
    "write_loader_page",
    "write_replay_page",
    "write_report",
]
