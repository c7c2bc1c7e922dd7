"""Where a sweep's tasks run: worker processes that end with their parent.

The seam is `concurrent.futures.Executor`; tasks and what they return must pickle.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from actprof.lifetime import end_with_parent

_WORKER_BYTES = 1_300_000_000  # torch and lerobot in one process, while tracing


def default_jobs() -> int:
    """Return one worker for each core that we may use, as far as the memory that is free holds them."""
    cores = len(os.sched_getaffinity(0))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(cores, free // _WORKER_BYTES), 1)


@contextmanager
def worker_pool(jobs: int) -> Iterator[Executor]:
    """Yield an executor with `jobs` workers; on an exception the workers are ended at once.

    Workers are spawned, not forked: torch's threads do not survive a fork.
    """
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_start_worker, initargs=(os.getpid(), jobs)
    )
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _start_worker(parent: int, jobs: int) -> None:
    """Leave Ctrl-C to the parent, end with it, and share the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="actprof: %(message)s")
    threads = str(max((os.cpu_count() or 1) // jobs, 1))
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    end_with_parent(parent)


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
