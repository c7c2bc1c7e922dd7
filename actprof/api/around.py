"""Around a run: two of them compared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from actprof.results import Result

if TYPE_CHECKING:
    from actprof.running.compare import RunComparison
    from actprof.running.summary import RunSummary


def compare(
    first: str | os.PathLike[str] | Result | RunSummary,
    second: str | os.PathLike[str] | Result | RunSummary,
    *,
    tolerance: float = 0.05,
) -> RunComparison:
    """Say how the second of two runs differs from the first, and whether it is worse beyond the noise.

    Args:
        first: a file that `actprof run`, `predict --json`, `preflight --json` or `measure --json` wrote, or
            such a result itself.
        second: another.
        tolerance: differences up to this share are never worse.

    Raises:
        UsageError: a file is none of them, or they have nothing in common that could be compared.
    """
    from actprof.running.compare import compare_runs
    from actprof.running.summary import read_file

    one, other = (read_file(os.fspath(r)) if isinstance(r, str | os.PathLike) else r for r in (first, second))
    return compare_runs(one, other, tolerance=tolerance)
