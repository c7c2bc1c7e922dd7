"""What is kept of a run: predicted beside measured, as JSON. Plain records; nothing here runs or predicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from actprof.errors import ActprofError, UsageError
from actprof.files import write_whole
from actprof.records import from_plain, to_plain
from actprof.results import Result
from actprof.running.training_log import LogLine

FILE_NAME = "actprof-run.json"
KIND = "actprof run"  # what a reader knows the file by
SCHEMA_VERSION = 1
MOST_LINES = 2000  # of the log, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run, perhaps still going on.

    Attributes:
        command: as it was run; `changed` are flags and variables that were not as given.
        exit_code: 128 + n after signal n; None while it runs.
        step, steps: done, and all of them; 0 where lerobot has not said.
        predicted: None where it could not be told.
        measured: as a `Result`, for the ledger; None without a prediction's cell.
        without_cuda: why memory cannot be compared, in a sentence; or empty.
        limited_by: `data`, `host`, `device` or `processor`, by the last lines; empty where nobody knows.
        seconds_per_step: wall clock from one step to the next, checkpoints included.
        hours_left: by that; None when it has ended.
        lines: of lerobot's log; each is the mean of the steps since the one before it.
        date: of its start, ISO 8601.
    """

    command: str
    changed: tuple[str, ...] = ()
    exit_code: int | None = None
    step: int = 0
    steps: int = 0
    predicted: Result | None = None
    measured: Result | None = None
    without_cuda: str = ""
    limited_by: str = ""
    seconds_per_step: float | None = None
    hours_left: float | None = None
    lines: tuple[LogLine, ...] = ()
    date: str = ""
    versions: Mapping[str, str]
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values, curves left out."""
        results = {
            name: None if (found := getattr(self, name)) is None else found.to_json(curve=False)
            for name in ("predicted", "measured")
        }
        first = {"kind": self.kind, "schema_version": self.schema_version}
        return {**first, **to_plain(self), **results}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a summary from `to_json`."""
        return from_plain(cls, data)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        write_whole(path, (json.dumps(self.to_json(), indent=1) + "\n").encode())


def read_file(path: str | Path) -> RunSummary | Result:
    """Return what stands in a file: a run's summary, or what `predict`, `preflight`, `measure --json` print.

    Raises:
        UsageError: it is none of them, or cannot be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("kind") == KIND:
            return RunSummary.from_json(data)
        return Result.from_json(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, AttributeError, KeyError, ActprofError) as error:
        why = f" ({error})" if isinstance(error, ValueError | ActprofError) else ""
        raise UsageError(
            f"{path} is neither a summary of `actprof run` nor what `actprof predict --json`, "
            f"`preflight --json` or `measure --json` prints{why}"
        ) from error
