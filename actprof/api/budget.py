"""The budget of one training run, checked from Python with the grammar of `expect:` in scenario files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.claims.expectation import Expectation
from actprof.claims.grammar import parse_expected
from actprof.claims.judge import Outcome, evaluate
from actprof.claims.quantities import PLAIN, find_quantity
from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.prediction.predict import predict_cell
from actprof.results import Result
from actprof.trace.cache import trace_for


class Budget:
    """What one run needs, and assertions about it whose messages show both numbers.

    Args:
        set: fields of the policy's lerobot config, as in a scenario file; `overrides` is the same.
        **options: those of `actprof.predict`.

    Raises:
        UsageError: an option that cannot be.
    """

    def __init__(self, *, set: Mapping[str, Any] | None = None, **options: Any) -> None:  # noqa: A002 - a scenario's name for it
        if set is not None and "overrides" in options:
            raise UsageError("set and overrides are the same; keep one")
        self._cell = make_cell(**(options if set is None else {**options, "overrides": set}))
        self._results: dict[str, Result] = {}

    @property
    def result(self) -> Result:
        """The prediction."""
        return self._predict(self._cell)

    def assert_fits(self, gpu: str | None = None) -> None:
        """Assert that the run gets through on `gpu` (`fits` or `tight`), or on its own without one.

        Raises:
            AssertionError: it does not; says why.
            UsageError: nobody knows the GPU.
        """
        cell = self._cell
        if gpu is not None:
            cell = replace(cell, gpu=find_gpu(gpu).name, capacity_bytes=None)
        self._check(cell, {"verdict": "fits or tight"})

    def assert_at_most(self, **most: str | float) -> None:
        """Assert that quantities stay at or below figures: `assert_at_most(peak_allocated="13 GiB")`.

        Raises:
            AssertionError: one does not; shows both figures.
            UsageError: a quantity or figure that cannot be.
        """
        self.expect({name: f"at most {figure}" for name, figure in most.items()})

    def expect(self, expected: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Assert that quantities are as expected: `expect({"share.encoder": "< 60 %"}, encoder_tokens=602)`.

        In keywords `oom_segment` stands for `oom.segment`, and likewise for all names with a dot.

        Raises:
            AssertionError: one is not, or cannot be told; shows both figures of each.
            UsageError: a quantity or figure that cannot be.
        """
        dotted = {name.replace(".", "_"): name for name in PLAIN}
        named = {dotted.get(name, name): value for name, value in more.items()}
        self._check(self._cell, {**(expected or {}), **named})

    def _check(self, cell: Cell, expected: Mapping[str, Any]) -> None:
        wanted = [
            Expectation(quantity=quantity, expected=parse_expected(value, quantity), cells=(cell,))
            for quantity, value in ((find_quantity(name), value) for name, value in expected.items())
        ]
        result = self._predict(cell)
        outcomes = evaluate(wanted, {cell.identity(): result}, lambda one: trace_for(one)[0].policy)
        failed = [outcome for outcome in outcomes if not outcome.held]
        if failed:
            raise AssertionError("\n".join([_name(result), *map(_said, failed)]))

    def _predict(self, cell: Cell) -> Result:
        key = cell.identity()
        if key not in self._results:
            self._results[key] = predict_cell(cell)
        return self._results[key]


def _name(result: Result) -> str:
    cell = result.cell
    views = f"{cell.cameras_text} at {cell.resolution}"
    return f"{cell.policy}, {views}, batch size {cell.batch_size}, on {result.gpu.name}:"


def _said(outcome: Outcome) -> str:
    verb = "is" if outcome.held is False else "cannot be told:"
    text = f"  {outcome.quantity}: expected {outcome.expected}, {verb} {outcome.actual}"
    return f"{text} ({outcome.instead})" if outcome.instead else text
