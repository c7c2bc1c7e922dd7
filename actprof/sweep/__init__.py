"""The grid of a scenario, answered cell by cell and kept in a store; `actprof.sweep(scenario)` runs it."""

from __future__ import annotations

from actprof._callable import make_callable

make_callable(__name__)
