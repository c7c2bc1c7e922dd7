"""Measure data loading: plan the sources, run each in a process of its own, gather the rows.

A source (how frames are stored, what decodes them, whether the loader resizes) has a process of its own, in
which its DataLoaders are timed one after another, each with fresh workers. A source that cannot be measured
becomes rows with the reason.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from actprof.errors import StoreError, UsageError
from actprof.files import cache_folder
from actprof.loading.lend_ffmpeg import lend_ffmpeg
from actprof.loading.own_memory import lacks_psutil
from actprof.loading.plan import LoaderQuestion, SourceRequest, plan
from actprof.loading.rows import COLD, TORCHCODEC, DatasetFacts, LoaderResult, LoaderRow, Source
from actprof.loading.synthetic import quiet_environment, synthetic_dataset
from actprof.loading.time_source import SourceAnswer, load_source, row_of
from actprof.policies.lerobot_versions import require_release
from actprof.processes.pool import available_cores
from actprof.processes.worker import Conditions, WorkerError, call_alone
from actprof.progress import Listener, Progress, nobody
from actprof.versions import library_versions, package_version

_START_SECONDS = 120.0  # allowed for importing lerobot, and for workers to do so
_BUSY = 0.5  # load per core from which on others disturb what is timed
_ALLOWANCE = 6.0  # times the seconds of a load, for its rounds and its parts


def measure_loading(question: LoaderQuestion, *, listener: Listener = nobody) -> LoaderResult:
    """Measure data loading and return all rows; see `actprof.measure_loader`."""
    if question.root and not (Path(question.root).expanduser() / "meta" / "info.json").is_file():
        raise UsageError(
            f"{question.root} has no meta/info.json; give the folder of a LeRobotDataset as --root"
        )
    require_release("0.6.0", "what data loading takes")
    planned = plan(question, cores=available_cores())
    measuring = _Measuring(question, sum(len(request.loads) for request in planned), listener)
    busy = _load_average()
    answers = [measuring.measure(request) for request in planned]
    return _gather(question, answers, [*measuring.notes, *_busy_notes(busy)])


# -- one source ----------------------------------------------------------------------------------------


class _Measuring:
    """Runs sources one after another, and remembers what torchcodec needs to be loaded."""

    def __init__(self, question: LoaderQuestion, loads: int, listener: Listener) -> None:
        self._question = question
        self._loads, self._done = loads, 0
        self._listener = listener
        self._lent: dict[str, str] = {}
        self.notes: list[str] = []

    def measure(self, request: SourceRequest) -> SourceAnswer:
        """Return the rows of one source; if it cannot be measured, with the reason."""
        try:
            answer = self._answer(request)
        except WorkerError as error:
            answer = SourceAnswer(refused=error.reason)
        self._done += len(request.loads)
        return replace(answer, rows=_refused(request, answer.refused)) if answer.refused else answer

    def _answer(self, request: SourceRequest) -> SourceAnswer:
        environment: dict[str, str] = {}
        if request.synthetic is not None:
            environment = quiet_environment()
            root = synthetic_dataset(request.synthetic, listener=self._tell)
            request = replace(request, root=str(root))
        if request.backend == TORCHCODEC:
            return self._ask_torchcodec(request, environment)
        return self._ask(request, environment)

    def _tell(self, state: Progress) -> None:
        self._listener(replace(state, total=self._loads, done=self._done))

    def _ask(self, request: SourceRequest, environment: dict[str, str]) -> SourceAnswer:
        enough = _START_SECONDS + len(request.loads) * (_START_SECONDS / 2 + _ALLOWANCE * request.seconds)
        timeout = self._question.timeout or enough
        conditions = Conditions(environment=environment, timeout=timeout, listener=self._tell)
        return call_alone(conditions, load_source, request)

    def _ask_torchcodec(self, request: SourceRequest, environment: dict[str, str]) -> SourceAnswer:
        """Ask; if FFmpeg's libraries are missing ask again with PyAV's, as a training run can do as well."""
        answer = self._ask(request, {**environment, **self._lent})
        folder = _lend() if answer.refused and not self._lent else None
        if folder is None:
            return answer
        before = os.environ.get("LD_LIBRARY_PATH")
        lent = {"LD_LIBRARY_PATH": f"{folder}{os.pathsep}{before}" if before else str(folder)}
        again = self._ask(request, {**environment, **lent})
        if again.refused:
            return answer
        self._lent = lent
        self.notes.append(
            f"{answer.refused}. It was measured with those of PyAV's wheel; for training as well: "
            f"export LD_LIBRARY_PATH={folder}"
        )
        return again


def _lend() -> Path | None:
    try:
        return lend_ffmpeg(cache_folder() / f"ffmpeg-of-av-{package_version('av')}")
    except OSError as error:
        raise StoreError(f"links to PyAV's libraries cannot be made ({error})") from error


def _refused(request: SourceRequest, reason: str) -> tuple[LoaderRow, ...]:
    return tuple(row_of(request.source(), load, reason) for load in request.loads)


# -- gathering -----------------------------------------------------------------------------------------


def _gather(question: LoaderQuestion, answers: list[SourceAnswer], notes: list[str]) -> LoaderResult:
    facts: dict[DatasetFacts, None] = dict.fromkeys(answer.facts for answer in answers if answer.facts)
    rows: dict[tuple[Source, int, int, str], LoaderRow] = {}
    for row in (_sized(row, next(iter(facts), None)) for answer in answers for row in answer.rows):
        # a dataset of images gives the same source for every backend of video
        rows.setdefault((row.source, row.batch_size, row.workers, row.cache), row)
    known = next((answer for answer in answers if answer.settings), SourceAnswer())
    return LoaderResult(
        name=question.name,
        rows=tuple(rows.values()),
        datasets=tuple(facts),
        policy=question.policy,
        overrides=dict(question.overrides),
        chunk_size=known.chunk_size,
        frames=known.frames,
        cores=available_cores(),
        torch_threads=known.torch_threads,
        settings=known.settings,
        notes=(
            *notes,
            *_memory_notes(),
            *_image_notes(tuple(rows.values())),
            *_cold_notes(tuple(rows.values())),
        ),
        versions=library_versions()
        | {name: package_version(name) for name in ("av", "torchcodec", "datasets")},
    )


def _sized(row: LoaderRow, facts: DatasetFacts | None) -> LoaderRow:
    """Give a row that was refused before its dataset was opened the size that another source found."""
    if row.source.width or facts is None:
        return row
    return replace(row, source=replace(row.source, width=facts.width, height=facts.height))


def _load_average() -> float:
    """Return how many processes wanted a core in the last minute, before anything of ours does."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _busy_notes(load: float) -> tuple[str, ...]:
    if load < _BUSY * available_cores():
        return ()
    said = (
        f"other programs kept the machine busy (load {load:.1f} on {available_cores()} cores): rates are too "
        "low, and rows that were measured at different moments compare badly"
    )
    return (said,)


def _memory_notes() -> tuple[str, ...]:
    return ("psutil is not installed (pip install psutil): what processes hold is not told",) * lacks_psutil()


def _image_notes(rows: tuple[LoaderRow, ...]) -> tuple[str, ...]:
    """Say how many images a sample decodes, where that is more than with actions read alone."""
    decoded = {row.source: row.frames_decoded for row in rows if row.frames_decoded}
    for source, frames in decoded.items():
        alone = decoded.get(replace(source, actions_alone=True))
        if not source.actions_alone and alone is not None and frames > alone:
            said = (
                f"a sample of stored images decodes {frames:.0f} images where {alone:.0f} would do: lerobot "
                "reads actions through a transform that is handed every column of their rows; 'actions read "
                "alone' is the same dataset without that"
            )
            return (said,)
    return ()


def _cold_notes(rows: tuple[LoaderRow, ...]) -> tuple[str, ...]:
    measured = [row for row in rows if row.cache == COLD and row.batch_seconds is not None]
    if any(row.cached_share is None for row in measured):
        return ("whether the files left the page cache cannot be told here, so that cold may mean warm",)
    kept = max((row.cached_share or 0.0 for row in measured), default=0.0)
    if kept > 0.5:
        return (f"the file system kept up to {kept:.0%} of the files in the page cache: cold is part warm",)
    return ()
