"""The public API: its functions and what they return. The command line only calls these."""

from __future__ import annotations

from actprof.api.around import compare
from actprof.api.ledger import accuracy, contribute
from actprof.api.measurements import (
    calibrate,
    compare_snapshot,
    measure,
    measure_lines,
    measure_loader,
    write_loader_page,
)
from actprof.api.pictures import (
    write_answer,
    write_answer_picture,
    write_explanation_picture,
    write_picture,
    write_pictures,
)
from actprof.api.policies import known_policies
from actprof.api.reports import write_report
from actprof.api.runs import (
    explain,
    params,
    predict,
    predict_cards,
    preflight,
    write_explanation_page,
    write_perfetto,
)
from actprof.api.scenarios import check, load_scenario, sweep
from actprof.api.snapshots import replay_snapshot, verify_snapshot, write_replay_page
from actprof.cell import Cell
from actprof.errors import ActprofError
from actprof.explanation.explain import Explanation
from actprof.results import Result
from actprof.scenario.grid import Scenario

__all__ = [
    "ActprofError",
    "Cell",
    "Explanation",
    "Result",
    "Scenario",
    "accuracy",
    "calibrate",
    "check",
    "compare",
    "compare_snapshot",
    "contribute",
    "explain",
    "known_policies",
    "load_scenario",
    "measure",
    "measure_lines",
    "measure_loader",
    "params",
    "predict",
    "predict_cards",
    "preflight",
    "replay_snapshot",
    "sweep",
    "verify_snapshot",
    "write_answer",
    "write_answer_picture",
    "write_explanation_page",
    "write_explanation_picture",
    "write_loader_page",
    "write_perfetto",
    "write_picture",
    "write_pictures",
    "write_replay_page",
    "write_report",
]
