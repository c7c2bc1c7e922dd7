"""The results store: one SQLite file that survives anything.

One row per cell and source (predicted and measured stand side by side), one per grounding. Each row carries a
fingerprint of what its answer depends on besides the cell (versions, figures of the GPU); a row whose
fingerprint differs counts as missing. Every write is a transaction of its own. Others can read meanwhile:
SQLite writes ahead to a second file, where the file system lets it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from actprof.cell import Cell
from actprof.errors import StoreError
from actprof.hardware import Gpu, LocalGpu
from actprof.measuring.grounding import Grounding
from actprof.policies.libraries import versions_for
from actprof.prediction.elsewhere import prediction_code
from actprof.records import from_plain, to_plain
from actprof.results import MEASURED, PREDICTED, SCHEMA_VERSION, Result
from actprof.step_time.calibration import calibration_of

FILE_NAME = "results.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (
    cell TEXT, source TEXT, fingerprint TEXT NOT NULL, verdict TEXT NOT NULL, result TEXT NOT NULL,
    stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (cell, source));
CREATE TABLE IF NOT EXISTS groundings (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, grounding TEXT NOT NULL,
    stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX IF NOT EXISTS results_by_verdict ON results (source, verdict);
"""
_AT_ONCE = 500  # rows
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def fingerprint(cell: Cell, gpu: Gpu | None = None) -> str:
    """Return a digest of what the prediction of a cell depends on besides it."""
    figures = None if gpu is None else {**gpu.to_json(), "sources": None, "aliases": None}
    code = prediction_code()
    calibration = None if gpu is None else calibration_of(gpu.name, gpu.aliases)
    measured = [] if calibration is None else [calibration.to_json()]
    return _digest([versions_for(cell), code, SCHEMA_VERSION, figures, *measured])


def measured_fingerprint(cell: Cell, gpu: LocalGpu, cap_bytes: int | None) -> str:
    """Return a digest of what a measurement depends on besides its cell: the card, its driver, the cap."""
    return _digest([versions_for(cell), SCHEMA_VERSION, MEASURED, gpu.name, gpu.driver, cap_bytes])


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


class ResultsStore:
    """Results and groundings of one scenario, in `folder/results.sqlite`.

    Once the disk is full, what is put is kept in memory, so that nothing is lost that was answered; `lost` is
    then the error.

    Raises:
        StoreError: the folder or file cannot be used; each method too.
    """

    lost: StoreError | None = None

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.path = folder / FILE_NAME
        if not create and not self.path.is_file():
            raise StoreError(f"{folder} has no {FILE_NAME}; run `actprof sweep` first")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=30)
            if create:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
            self._drop_old_results()
            self._connection.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            with suppress(OSError):
                if not self.path.stat().st_size:
                    self.path.unlink()
            raise StoreError(_cannot_use(self.path, error)) from error

    def __enter__(self) -> Self:
        """Use it in a with statement."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file, and leave a single one if nobody reads it."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA busy_timeout = 1000")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def _drop_old_results(self) -> None:
        """Drop the table of a version that knew predictions only; they are made again."""
        columns = [row[1] for row in self._connection.execute("PRAGMA table_info(results)")]
        if columns and "source" not in columns:
            self._connection.execute("DROP TABLE results")

    def put_result(self, result: Result, stamp: str) -> None:
        """Store `result`, in place of an older answer about the same cell from the same source."""
        key = (result.cell.identity(), result.source)
        self._write(
            "INSERT OR REPLACE INTO results (cell, source, fingerprint, verdict, result) "
            "VALUES (?, ?, ?, ?, ?)",
            (*key, stamp, result.verdict, json.dumps(result.to_json())),
        )

    def put_grounding(self, cell: Cell, grounding: Grounding, stamp: str) -> None:
        """Store `grounding` for the policy, resolution and camera count of `cell`."""
        values = (grounding_key(cell), stamp, json.dumps(to_plain(grounding)))
        self._write(
            "INSERT OR REPLACE INTO groundings (key, fingerprint, grounding) VALUES (?, ?, ?)", values
        )

    def put_meta(self, values: Mapping[str, Any]) -> None:
        """Store what the report says of the scenario, as JSON values by name."""
        for name, value in values.items():
            self._write("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, json.dumps(value)))

    def meta(self) -> dict[str, Any]:
        """Return what `put_meta` stored."""
        return {name: json.loads(value) for name, value in self._read("SELECT name, value FROM meta")}

    def stamp(self, cell: Cell, *, source: str = PREDICTED) -> str:
        """Return the fingerprint of the result of `cell` from a source; nothing where none can be read."""
        wanted = "SELECT fingerprint FROM results WHERE cell = ? AND source = ? AND json_valid(result)"
        return next((stamp for (stamp,) in self._read(wanted, (cell.identity(), source))), "")

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many results there are by source and verdict."""
        counted = "SELECT source, verdict, count(*) FROM results GROUP BY source, verdict"
        return {(source, verdict): count for source, verdict, count in self._read(counted)}

    def stored_within(self, seconds: int) -> int:
        """Return how many results were stored in the last so many seconds; of the last thousand."""
        last = "(SELECT stored_at FROM results ORDER BY rowid DESC LIMIT 1000)"
        since = f"SELECT count(*) FROM {last} WHERE stored_at > datetime('now', ?)"  # noqa: S608 - no input
        return int(self._read(since, (f"-{seconds} seconds",))[0][0])

    def grounding_stamps(self) -> dict[str, str]:
        """Return the fingerprint of every stored grounding by its key."""
        return dict(self._read("SELECT key, fingerprint FROM groundings"))

    def results(self, cells: Iterable[Cell] | None = None, *, source: str = PREDICTED) -> tuple[Result, ...]:
        """Return the stored results of `cells`, in their order; of all cells, in the order of storing."""
        return tuple(self.each_result(cells, source=source))

    def each_result(
        self, cells: Iterable[Cell] | None = None, *, source: str = PREDICTED
    ) -> Iterator[Result]:
        """Yield what `results` returns, without having it all in memory."""
        texts = self._each(source) if cells is None else self._of_cells(cells, source)
        return (Result.from_json(json.loads(text)) for text in texts)

    def _each(self, source: str) -> Iterator[str]:
        every = (
            "SELECT rowid, result FROM results "
            "WHERE json_valid(result) AND source = ? AND rowid > ? ORDER BY rowid LIMIT ?"
        )
        rows = self._read(every, (source, -1, _AT_ONCE))
        while rows:
            yield from (text for _rowid, text in rows)
            rows = self._read(every, (source, rows[-1][0], _AT_ONCE))

    def _of_cells(self, cells: Iterable[Cell], source: str) -> Iterator[str]:
        one = "SELECT result FROM results WHERE cell = ? AND source = ? AND json_valid(result)"
        for cell in cells:
            yield from (text for (text,) in self._read(one, (cell.identity(), source)))

    def groundings(self, cells: Iterable[Cell] | None = None) -> tuple[Grounding, ...]:
        """Return the stored groundings of `cells`, in their order, each once; of all cells without them."""
        stored = dict(self._read("SELECT key, grounding FROM groundings ORDER BY rowid"))
        wanted = stored if cells is None else dict.fromkeys(grounding_key(cell) for cell in cells)
        return tuple(from_plain(Grounding, json.loads(stored[key])) for key in wanted if key in stored)

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            failed = StoreError(_cannot_use(self.path, error))
            if self.lost or _code(error) not in _FULL:
                raise failed from error
            self._go_on_in_memory()
            self.lost = failed
            self._write(statement, values)

    def _go_on_in_memory(self) -> None:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        try:
            self._connection.backup(memory)
        except sqlite3.Error as error:
            memory.close()
            raise StoreError(_cannot_use(self.path, error)) from error
        self._connection.close()
        self._connection = memory

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            with closing(self._connection.execute(statement, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise StoreError(_cannot_use(self.path, error)) from error


def grounding_key(cell: Cell) -> str:
    """Return the key of the grounding that serves `cell`: what its trace depends on."""
    return json.dumps(cell.trace_key(), sort_keys=True, separators=(",", ":"))


def _code(error: Exception) -> int:
    """Return the primary code of SQLite's error; 0 of another."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _cannot_use(path: Path, error: Exception) -> str:
    remedy = "make room on the disk" if _code(error) in _FULL else "remove it"
    return f"the results store {path} cannot be used ({error}); choose another folder with --out, or {remedy}"
