"""Tasks as jobs of Slurm, through submitit: each job answers some of them, one after the other.

What a job answers stands in the shared folder at once, a file for each task. A job that ends before all is
answered is submitted again with the rest; its first task is given up when it was the end of a few.
"""

from __future__ import annotations

import math
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import submitit

from actprof.errors import DiedError, UsageError
from actprof.processes.remote import Needs, RemoteExecutor, needs_of, outcome
from actprof.words import plural

_T = TypeVar("_T")
CLUSTERS = ("slurm", "local")
_MOST_JOBS = 16
_MINUTES = 60
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10.0  # for processes of this machine to end
_DEATHS = 3  # of jobs that a task may be the end of
_GPU = "gpu."
_ANSWERS = "answers-"  # of the names of folders, one for each job
_SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")


@dataclass(slots=True)
class _Asked:
    """A task with its future, and the jobs that ended while they worked on it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    future: Future[Any]
    deaths: int = 0


@dataclass(slots=True)
class _Job:
    """Tasks by number, the folder where their answers appear, and submitit's job."""

    asked: dict[int, _Asked]
    place: Path
    job: submitit.Job[None]
    needs: Needs


@dataclass(slots=True)
class _Waiting:
    """Tasks of the same needs that no job has yet."""

    asked: list[_Asked] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


class SlurmExecutor(RemoteExecutor):
    """Hands tasks to jobs of Slurm.

    Args:
        folder: shared with the jobs; their logs and answers come here.
        settings: of submitit (`timeout_min`, `mem_gb`) and, by Slurm's names, of sbatch (`partition`, `time`,
            `account`), those of jobs that measure with `gpu.` before the name; `cluster=local` takes this
            machine's processes for jobs, to try it out.
        runs_per_job: tasks of a job.
        jobs: at a time; 16 if left out.

    Raises:
        UsageError: there is no Slurm here, or a setting is none.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, runs_per_job: int, jobs: int | None = None
    ) -> None:
        self._folder = folder
        self._settings = dict(settings)
        self._cluster = self._settings.pop("cluster", "slurm")
        if self._cluster not in CLUSTERS:
            raise UsageError(f"--slurm cluster={self._cluster} is none of {', '.join(CLUSTERS)}")
        self._per_job = runs_per_job
        self._most_jobs = jobs or _MOST_JOBS
        self._waiting: dict[Needs, _Waiting] = {}
        self._jobs: list[_Job] = []
        self._lock = threading.Lock()
        self._submitter(Needs())  # so that what is wrong is said at once
        for place in folder.glob(f"{_ANSWERS}*"):  # jobs that an earlier sweep left behind end by this
            shutil.rmtree(place, ignore_errors=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def window(self) -> int:
        """As many tasks as all jobs have."""
        return self._per_job * self._most_jobs

    @property
    def doing(self) -> str:
        """How many jobs there are."""
        with self._lock:
            count = sum(bool(job.asked) for job in self._jobs)
        return (
            f"{count} {plural(count, 'job')} of Slurm" if self._cluster == "slurm" else f"{count} local jobs"
        )

    def submit(self, fn: Callable[..., _T], /, *args: Any, **_kwargs: Any) -> Future[_T]:
        """Run `fn` in one of the next jobs."""
        asked = _Asked(fn, args, Future())
        with self._lock:
            self._waiting.setdefault(needs_of(fn), _Waiting()).asked.append(asked)
        return asked.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Cancel what still runs; the logs stay where a job failed."""
        self._over.set()
        self._thread.join()
        for job in self._jobs:
            with suppress(Exception):  # a job that is over, or a Slurm that does not answer
                job.job.cancel(check=False)
            shutil.rmtree(job.place, ignore_errors=True)
        end = time.monotonic() + _GRACE_SECONDS
        while self._cluster == "local" and time.monotonic() < end:
            if all(job.job.done() for job in self._jobs):
                break
            time.sleep(_POLL_SECONDS / 10)

    def _watch(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            try:
                with self._lock:
                    self._look()
                    self._submit_waiting()
            except Exception as error:  # noqa: BLE001 - who waits is told
                self._fail(error)

    def _look(self) -> None:
        for job in list(self._jobs):
            is_over = job.job.done()  # asked before, so that no answer comes in between
            self._take_answers(job)
            if is_over:
                self._jobs.remove(job)
                shutil.rmtree(job.place, ignore_errors=True)
                self._submit_again(job)

    def _take_answers(self, job: _Job) -> None:
        for path in sorted(job.place.glob("*.answer"), key=lambda path: int(path.stem)):
            asked = job.asked.pop(int(path.stem), None)
            if asked is not None and not asked.future.cancelled():
                value, error = pickle.loads(path.read_bytes())  # noqa: S301 - of our own job
                _settle(asked.future, value, error)

    def _submit_again(self, job: _Job) -> None:
        rest = [asked for asked in job.asked.values() if not asked.future.cancelled()]
        if rest:
            rest[0].deaths += 1
            if rest[0].deaths == _DEATHS:
                _settle(rest.pop(0).future, None, DiedError(_how_it_ended(job.job)))
        if rest:
            self._submit_job(rest, job.needs)

    def _submit_waiting(self) -> None:
        for needs, waiting in list(self._waiting.items()):
            size = 1 if needs.alone else self._per_job
            is_old = time.monotonic() > waiting.since + _POLL_SECONDS
            while len(waiting.asked) >= size or (waiting.asked and is_old):
                self._submit_job(waiting.asked[:size], needs)
                del waiting.asked[:size]
            if not waiting.asked:
                del self._waiting[needs]

    def _submit_job(self, asked: Sequence[_Asked], needs: Needs) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        place = Path(mkdtemp(dir=self._folder, prefix=_ANSWERS)).absolute()
        tasks = [(one.function, one.args) for one in asked]
        job = self._submitter(needs).submit(answer_tasks, tasks, place)
        self._jobs.append(_Job(dict(enumerate(asked)), place, job, needs))

    def _submitter(self, needs: Needs) -> submitit.AutoExecutor:
        given: dict[str, Any] = {
            "name": "actprof",
            "timeout_min": _MINUTES,
            "cpus_per_task": needs.cores,
            "mem_gb": math.ceil(needs.memory_bytes / 1e9) or None,
            "gpus_per_node": needs.gpus or None,
        }
        own = {name: text for name, text in self._settings.items() if not name.startswith(_GPU)}
        if needs.gpus:
            own |= {n.removeprefix(_GPU): text for n, text in self._settings.items() if n.startswith(_GPU)}
        for name, text in own.items():
            given[name if name in _SHARED else f"slurm_{name}"] = int(text) if text.isdigit() else text
        if "slurm_gres" in given:
            del given["gpus_per_node"]
        try:
            submitter = submitit.AutoExecutor(self._folder, cluster=self._cluster)
            submitter.update_parameters(**given)
        except (RuntimeError, AssertionError, NameError, ValueError) as error:
            raise UsageError(f"--executor slurm cannot be used: {error}") from error
        return submitter

    def _fail(self, error: Exception) -> None:
        with self._lock:
            asked = [one for job in self._jobs for one in job.asked.values()]
            asked += [one for waiting in self._waiting.values() for one in waiting.asked]
            self._jobs.clear()
            self._waiting.clear()
        for one in asked:
            _settle(one.future, None, UsageError(f"Slurm does not take the jobs: {error}"))


def answer_tasks(tasks: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]], place: Path) -> None:
    """Run tasks in a job, and leave each answer in `place` at once; stop when that is gone."""
    for number, (function, args) in enumerate(tasks):
        if not place.is_dir():
            return
        unfinished = place / f"{number}.part"
        unfinished.write_bytes(pickle.dumps(outcome(function, *args)))
        unfinished.rename(place / f"{number}.answer")


def _settle(future: Future[Any], value: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _how_it_ended(job: submitit.Job[None]) -> str:
    printed = (job.stderr() or "").strip().splitlines()
    last = f": {printed[-1]}" if printed else ""
    return f"the job that worked on it ended {_DEATHS} times without an answer{last}"
