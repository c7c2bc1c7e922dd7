"""A pytest plugin with one fixture, `actprof_budget`: a training run's memory budget as a test.

    def test_the_run_fits_our_card(actprof_budget):
        run = actprof_budget(policy="act", resolution="640x480", cameras=2, batch_size=32)
        run.assert_fits("RTX 3090")
        run.expect(encoder_tokens=602, peak_allocated="at most 13.5 GiB")

pytest loads this for every run, so it imports nothing else before the fixture is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from actprof.api.budget import Budget


@pytest.fixture(scope="session")
def actprof_budget() -> Callable[..., Budget]:
    """Return a function that predicts a run and checks it; options as in `actprof.predict`."""

    def budget(**options: Any) -> Budget:
        from actprof.api.budget import Budget

        return Budget(**options)

    return budget
