"""Where tasks run: in workers that are told apart, and that end with the pool."""

import os
import time
from contextlib import suppress

import pytest
from processes import is_alive, kill_oneself, wait_until

from actprof.errors import DiedError
from actprof.processes.child import tell
from actprof.processes.pool import InThisProcess, Task, Workers, worker_pool


def test_tasks_run_in_as_many_processes_as_there_are_jobs():
    """One after another each takes the worker that was idle last: it has imported what it needs."""
    with worker_pool(2) as pool:
        alone = {pool.submit(os.getpid).result() for _ in range(4)}
        pids = {task.result() for task in [pool.submit(sleep_and_tell) for _ in range(4)]}
    assert 1 == len(alone)
    assert alone < pids
    assert 2 == len(pids)
    assert os.getpid() not in pids
    assert not any(map(is_alive, pids))


def sleep_and_tell():
    time.sleep(0.2)
    return os.getpid()


def test_threads_are_shared_out_unless_we_say_how_many(monkeypatch):
    """A variable is added and none is replaced: what we have ourselves counts."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with worker_pool(1) as pool:
        added = pool.submit(os.getenv, "OMP_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "ours")
    with worker_pool(1) as pool:
        kept = pool.submit(os.getenv, "OMP_NUM_THREADS")
    assert (str(os.cpu_count()), "ours") == (added.result(), kept.result())


def test_the_death_of_a_worker_is_the_error_of_its_task_alone():
    """The others are answered, before and after."""
    with worker_pool(1) as pool:
        first, second, third = pool.submit(os.getpid), pool.submit(kill_oneself), pool.submit(os.getpid)
    assert first.result() != third.result()
    with pytest.raises(DiedError, match="SIGKILL"):
        second.result()


def test_an_exception_ends_the_workers_at_once():
    """Ctrl-C waits for nobody, and what was not begun is not."""
    with suppress(KeyboardInterrupt), worker_pool(1) as pool:
        pid = pool.submit(os.getpid).result()
        running, waiting = pool.submit(time.sleep, 60), pool.submit(os.getpid)
        assert wait_until(running.running)
        raise KeyboardInterrupt
    assert not is_alive(pid)
    assert waiting.cancelled()
    with pytest.raises(DiedError):
        running.result(10)


def test_this_process_hands_on_what_goes_wrong():
    """As a worker does."""
    assert os.getpid() == InThisProcess().submit(os.getpid).result()
    with pytest.raises(ZeroDivisionError):
        InThisProcess().submit(divmod, 1, 0).result()


@pytest.mark.parametrize("executor", [None, InThisProcess()], ids=["in a worker", "here"])
def test_what_a_task_says_stands_behind_its_label(executor):
    """With how many are done, while it runs."""
    told = []
    with Workers(jobs=1, listener=told.append, executor=executor).tasks(1) as tasks:
        tasks.add(Task("tracing act", lambda future: future.result(), speak_and_wait))
        tasks.run()

    assert ("tracing act: batch size 3, 2 of 3",) in {progress.running for progress in told}
    assert {1} == {progress.total for progress in told}
    assert 1 == told[-1].done


def speak_and_wait():
    tell("batch size 3, 2 of 3")
    time.sleep(2)


def test_where_no_worker_can_be_started_this_process_does_the_work(monkeypatch):
    """As on Windows, which has no pipes to hand on by their descriptor."""
    monkeypatch.setattr("actprof.processes.pool.CAN_START", False)
    with worker_pool(2) as executor:
        assert os.getpid() == executor.submit(os.getpid).result()
