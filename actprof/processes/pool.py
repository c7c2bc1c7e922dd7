"""Where a sweep's tasks run: worker processes that end with their parent.

The seam is `concurrent.futures.Executor`; tasks and what they return must pickle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import LifoQueue

from actprof.processes.worker import Worker

_WORKER_BYTES = 1_300_000_000  # torch and lerobot in one process, while tracing


def default_jobs() -> int:
    """Return one worker for each core that we may use, as far as the memory that is free holds them."""
    cores = len(os.sched_getaffinity(0))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(cores, free // _WORKER_BYTES), 1)


@contextmanager
def worker_pool(jobs: int) -> Iterator[Executor]:
    """Yield an executor with `jobs` workers; on an exception the workers are ended at once."""
    cores_each = str(max((os.cpu_count() or 1) // jobs, 1))
    workers = [Worker({"OMP_NUM_THREADS": cores_each}) for _ in range(jobs)]
    threads = ThreadPoolExecutor(jobs)
    try:
        yield _InWorkers(workers, threads)
        threads.shutdown()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.close()


class _InWorkers(Executor):
    """Has a thread for each worker: the death of one is a `DiedError` of its task, and of no other."""

    def __init__(self, workers: Iterable[Worker], threads: Executor) -> None:
        self._threads = threads
        self._idle = LifoQueue[Worker]()  # the last to finish is the next to start: it has lerobot
        for worker in workers:
            self._idle.put(worker)

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` in the next worker that is idle."""
        return self._threads.submit(self._run, fn, *args, **kwargs)

    def _run[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        worker = self._idle.get()
        try:
            return worker.call(fn, *args, **kwargs)
        finally:
            self._idle.put(worker)


class InThisProcess(Executor):
    """Runs each task at once, here: for work that takes less than starting a process."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` and return its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the future hands it to whoever asked
            future.set_exception(error)
        return future
