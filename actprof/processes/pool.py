"""Where many tasks run: in worker processes that end with their parent, on other machines, or here.

The seam is `concurrent.futures.Executor`; tasks and what they return must pickle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from queue import Empty, LifoQueue, SimpleQueue
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from actprof.errors import UsageError
from actprof.processes.process import CAN_START
from actprof.processes.remote import RemoteExecutor
from actprof.processes.worker import Worker
from actprof.progress import Listener, Progress, listening, nobody

_P = ParamSpec("_P")
_T = TypeVar("_T")
_POLL_SECONDS = 0.5
_WINDOW = 256  # tasks that wait for a worker of this machine, at most
TRACING_BYTES = 1_300_000_000  # torch and lerobot in one process, while tracing
PREDICTING_BYTES = 400_000_000  # neither, while replaying


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
        """Yield what runs so many tasks; an exception cancels what waits, and ends the workers at once."""
        own = worker_pool(min(self.jobs or default_jobs(), max(total, 1)))
        with (
            nullcontext(self.executor) if self.executor is not None else own as executor,
            ExitStack() as stack,
        ):
            tasks = Tasks(executor, total, self.listener, at_home=lambda: stack.enter_context(worker_pool(1)))
            try:
                yield tasks
            except BaseException:
                tasks.cancel()
                raise


@dataclass(frozen=True, slots=True)
class Task:
    """A function and its arguments, the label that it has meanwhile, and what is done with its future."""

    label: str
    finish: Callable[[Future[Any]], None]
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    at_home: bool = False


class Tasks:
    """Tasks in an executor; what is done with one that ends may add others.

    No more are open at a time than keep the workers busy, however many there are.

    Args:
        executor: runs them, but for those that are to be run `at_home`: these have what that returns.
        total: how many there will be.
        listener: told before and after every task.
    """

    def __init__(
        self,
        executor: Executor,
        total: int,
        listener: Listener,
        at_home: Callable[[], Executor] | None = None,
    ) -> None:
        self.executor = executor
        self._total = total
        self._listener = listener
        self._start_home = at_home or InThisProcess
        self._home: Executor | None = None
        self._run_at_home: list[str] = []
        self._done = 0
        self._open: dict[Future[Any], Task] = {}
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()

    def add(self, task: Task) -> None:
        """Have `task` run, and its `finish` called with its future, here, when it has."""
        self._tell(task.label)
        with listening(lambda told: self._tell(_joined(task.label, told.text))):  # where it runs here
            executor = self._at_home() if task.at_home else self.executor
            future = executor.submit(task.function, *task.args)
        self._open[future] = task
        if task.at_home:
            self._run_at_home.append(task.label)
        future.add_done_callback(self._ended.put)

    def more(self, count: int) -> None:
        """Count so many tasks more than were expected."""
        self._total += count

    def leave_out(self, count: int) -> None:
        """Count so many tasks as done that will not be added."""
        self._done += count

    def run(self, planned: Iterable[Task | None] = ()) -> None:
        """Add what is planned as there is room, and wait for everything.

        Args:
            planned: tasks; None where the next one depends on what is running.

        Raises:
            UsageError: a task's `finish`, which then tells of the label.
        """
        self._tell()
        rest = iter(planned)
        while self._add_some(rest) or self._open:
            self._finish_one(wait=True)

    def cancel(self) -> None:
        """Run nothing more that has not begun."""
        for future in self._open:
            future.cancel()

    def _add_some(self, rest: Iterator[Task | None]) -> bool:
        """Return whether there is more."""
        while len(self._open) < getattr(self.executor, "window", _WINDOW):
            try:
                task = next(rest)
            except StopIteration:
                return False
            if task is None:
                return True
            self.add(task)
            while self._finish_one(wait=False):
                pass
        return True

    def _finish_one(self, *, wait: bool) -> bool:
        try:
            future = self._ended.get(wait, _POLL_SECONDS)
        except Empty:
            if wait:
                self._tell()  # of what workers have said since
            return False
        task = self._open.pop(future)
        if task.at_home:
            self._run_at_home.remove(task.label)
        try:
            task.finish(future)
        except UsageError as error:
            raise UsageError(f"{task.label}: {error}") from error
        self._done += 1
        self._tell()
        return True

    def _at_home(self) -> Executor:
        if self._home is None:
            self._home = self._start_home()
        return self._home

    def _tell(self, next_one: str = "") -> None:
        said = getattr(self.executor, "said", {})
        if isinstance(self.executor, RemoteExecutor):  # its futures do not tell when they run
            running = (self.executor.doing, *self._run_at_home)
        else:
            running = tuple(
                _joined(task.label, *said.get(future, ("",)))
                for future, task in self._open.items()
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
    return max(min(available_cores(), free // TRACING_BYTES), 1)


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
