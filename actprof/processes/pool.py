"""Where many tasks run: in worker processes that end with their parent, or here.

The seam is `concurrent.futures.Executor`; tasks and what they return must pickle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from queue import LifoQueue
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from actprof.errors import UsageError
from actprof.processes.process import CAN_START
from actprof.processes.worker import Worker
from actprof.progress import Listener, Progress, listening, nobody

_P = ParamSpec("_P")
_T = TypeVar("_T")
_POLL_SECONDS = 0.5
_WORKER_BYTES = 1_300_000_000  # torch and lerobot in one process, while tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Where tasks run: in `jobs` worker processes (None: one for each core), or in `executor`.

    The listener is told before and after every task.
    """

    jobs: int | None = None
    listener: Listener = nobody
    executor: Executor | None = None

    @contextmanager
    def tasks(self, total: int) -> Iterator[Tasks]:
        """Yield what runs so many tasks; an exception ends the workers at once."""
        own = worker_pool(min(self.jobs or default_jobs(), max(total, 1)))
        with nullcontext(self.executor) if self.executor is not None else own as executor:
            yield Tasks(executor, total, self.listener)


class Tasks:
    """Tasks in an executor, each with a label; what is done with one that ends may add others."""

    def __init__(self, executor: Executor, total: int, listener: Listener) -> None:
        self._executor = executor
        self._total = total
        self._listener = listener
        self._done = 0
        self._open: dict[Future[Any], tuple[str, Callable[[Future[Any]], None]]] = {}

    def add(
        self, label: str, finish: Callable[[Future[Any]], None], task: Callable[..., Any], *args: Any
    ) -> None:
        """Have `task` run with its arguments, and `finish` called with its future, here, when it has."""
        self._tell(label)
        with listening(lambda told: self._tell(_joined(label, told.text))):  # where it runs here
            future = self._executor.submit(task, *args)
        self._open[future] = label, finish

    def leave_out(self, count: int) -> None:
        """Count so many tasks as done that will not be added."""
        self._done += count

    def run(self) -> None:
        """Wait for all of them.

        Raises:
            UsageError: one of `finish`, which then tells of the label.
        """
        self._tell()
        while self._open:
            done = wait(self._open, _POLL_SECONDS, return_when=FIRST_COMPLETED).done
            if not done:
                self._tell()  # of what workers have said since
            for future in done:
                label, finish = self._open.pop(future)
                try:
                    finish(future)
                except UsageError as error:
                    raise UsageError(f"{label}: {error}") from error
                self._done += 1
                self._tell()

    def _tell(self, next_one: str = "") -> None:
        said = getattr(self._executor, "said", {})
        running = tuple(
            _joined(label, *said.get(future, ("",)))
            for future, (label, _) in self._open.items()
            if future.running()
        )
        if next_one and not running:
            running = (next_one,)
        self._listener(Progress(total=self._total, done=self._done, running=running))


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs() -> int:
    """Return one worker for each core that we may use, as far as the memory that is free holds them."""
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):  # Linux alone says what is free
        return available_cores()
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(available_cores(), free // _WORKER_BYTES), 1)


@contextmanager
def worker_pool(jobs: int) -> Iterator[Executor]:
    """Yield an executor with `jobs` workers; on an exception the workers are ended at once.

    Where no worker can be started, this process does the work.
    """
    if not CAN_START:
        yield InThisProcess()
        return
    cores_each = str(max((os.cpu_count() or 1) // jobs, 1))
    threads_each = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", cores_each)}
    workers = [Worker(threads_each) for _ in range(jobs)]
    threads = ThreadPoolExecutor(jobs)
    try:
        yield _InWorkers(workers, threads)
        threads.shutdown()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.close()


def _joined(label: str, said: str) -> str:
    return f"{label}: {said}" if said else label


class _InWorkers(Executor):
    """Has a thread for each worker: the death of one is a `DiedError` of its task, and of no other.

    Attributes:
        said: what the workers last said of their tasks, a text in a list, by future.
    """

    def __init__(self, workers: Iterable[Worker], threads: Executor) -> None:
        self._threads = threads
        self._idle = LifoQueue[Worker]()  # the last to finish is the next to start: it has lerobot
        for worker in workers:
            self._idle.put(worker)
        self.said: WeakKeyDictionary[Future[Any], list[str]] = WeakKeyDictionary()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run `fn` in the next worker that is idle."""
        said = [""]

        def run() -> _T:
            with listening(lambda told: said.__setitem__(0, told.text)):
                return self._run(fn, *args, **kwargs)

        future = self._threads.submit(run)
        self.said[future] = said
        return future

    def _run(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        worker = self._idle.get()
        try:
            return worker.call(fn, *args, **kwargs)
        finally:
            self._idle.put(worker)


class InThisProcess(Executor):
    """Runs each task at once, here: for work that takes less than starting a process."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run `fn` and return its finished future."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the future hands it to whoever asked
            future.set_exception(error)
        return future
