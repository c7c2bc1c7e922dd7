"""actprof: does this robot-policy training run fit, who holds the memory, and where does it stop fitting?

    >>> import actprof
    >>> actprof.predict(policy="act", batch_size=64, gpu="RTX 3090").verdict
    'oom'

Names are looked up when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actprof.api import (
        accuracy,
        check,
        compare_snapshot,
        explain,
        load_scenario,
        measure,
        measure_lines,
        measure_loader,
        params,
        predict,
        preflight,
        replay_snapshot,
        sweep,
        verify_snapshot,
        write_explanation_page,
        write_loader_page,
        write_replay_page,
        write_report,
    )
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
    "check",
    "compare_snapshot",
    "explain",
    "load_scenario",
    "measure",
    "measure_lines",
    "measure_loader",
    "params",
    "predict",
    "preflight",
    "replay_snapshot",
    "sweep",
    "verify_snapshot",
    "write_explanation_page",
    "write_loader_page",
    "write_replay_page",
    "write_report",
]

_HOMES = {
    "ActprofError": "actprof.errors",
    "Cell": "actprof.cell",
    "Explanation": "actprof.explanation.explain",
    "Result": "actprof.results",
    "Scenario": "actprof.scenario.grid",
}


def __getattr__(name: str) -> Any:
    """Import the home of a public name (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "actprof.api")), name)
