"""What to run: scenario files, and the cells they stand for.

`load_scenario`, `load_gpu_file` and `scenario_json_schema` are looked up when first used, so that importing
this package costs neither pydantic nor yaml.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from actprof.cell import Cell
from actprof.scenario.grid import KNOWN_POLICIES, Scenario

if TYPE_CHECKING:
    from actprof.scenario.loading import load_gpu_file, load_scenario
    from actprof.scenario.schema import scenario_json_schema

__all__ = ["KNOWN_POLICIES", "Cell", "Scenario", "load_gpu_file", "load_scenario", "scenario_json_schema"]

_LAZY = {
    "load_gpu_file": "actprof.scenario.loading",
    "load_scenario": "actprof.scenario.loading",
    "scenario_json_schema": "actprof.scenario.schema",
}


def __getattr__(name: str) -> Any:
    """Import the home of a lazily exported name (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
