"""Where a sweep's tasks run: worker processes that end with their parent.

The seam is `concurrent.futures.Executor`; tasks and what they return must pickle.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any


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
    threads = str(max((os.cpu_count() or 1) // jobs, 1))
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> Any:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
