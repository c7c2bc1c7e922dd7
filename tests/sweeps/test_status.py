"""How far a sweep is, seen from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from actprof.errors import StoreError
from actprof.prediction.predict import predict_cell
from actprof.progress import Progress, nobody
from actprof.results import MEASURED
from actprof.sweeps import status
from actprof.sweeps.status import Heartbeat, Working, status_of
from actprof.sweeps.store import ResultsStore


@pytest.fixture
def swept(seed, store):
    """A store with three of five runs, one of which was measured."""
    store.put_meta({"name": "small", "planned": 5})
    for size in (8, 16, 300_000):
        store.put_result(predict_cell(seed(batch_size=size)), "stamp")
    store.put_result(replace(predict_cell(seed()), source=MEASURED), "stamp")
    return store


def test_what_is_stored_is_counted_by_source_and_verdict(swept):
    """Beside what is planned, while another has the store open."""
    found = status_of(swept.path.parent)

    assert ("small", 5, None) == (found.name, found.planned, found.working)
    assert {"predicted": {"fits": 2, "oom": 1}, "measured": {"fits": 1}} == found.counts


def test_who_works_says_how_far_it_is(swept):
    """What runs is told on; when it is over, so is that."""
    heard = []
    with Heartbeat(swept, heard.append) as heartbeat:
        heartbeat._told = float("-inf")
        heartbeat(Progress(total=5, done=3, running=("batch 8",)))
        during = status_of(swept.path.parent)
    after = status_of(swept.path.parent)

    assert [3] == [progress.done for progress in heard]
    assert (True, os.getpid(), ("batch 8",)) == (
        during.working.is_alive, during.working.pid, during.working.running,
    )  # fmt: skip
    assert during.per_second > 0
    assert ("done", False, (3, 5)) == (
        after.working.ended, after.working.is_alive, (after.working.done, after.working.total),
    )  # fmt: skip
    assert 0 == after.per_second


@pytest.mark.parametrize(
    ("error", "how"), [(KeyboardInterrupt(), "interrupted"), (ZeroDivisionError(), "failed")]
)
def test_how_it_ended_is_kept(swept, error, how):
    """Ctrl-C is not a failure."""
    with pytest.raises(type(error)), Heartbeat(swept, nobody):
        raise error

    assert how == status_of(swept.path.parent).working.ended


def working(**more):
    told = {"pid": os.getpid(), "host": status.socket.gethostname(), "since": status._now(), **more}
    return Working(**{"seen": status._now(), **told})


def test_a_process_that_is_gone_is_not_alive():
    """Of this machine it is looked up; of another, it counts when it was last seen."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert working().is_alive
    assert not working(pid=gone.pid).is_alive
    assert working(pid=gone.pid, host="elsewhere").is_alive
    assert not working(host="elsewhere", seen="2026-01-01T00:00:00+00:00").is_alive


def test_a_killed_process_that_nobody_waited_for_is_not_alive():
    """It is in the list of processes still."""
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)

    assert not working(pid=killed.pid).is_alive
    killed.communicate()


def test_a_folder_without_a_sweep_is_named(tmp_path):
    """With what to do."""
    with pytest.raises(StoreError, match=r"has no results\.sqlite"):
        status_of(tmp_path)


def test_the_store_of_a_large_sweep_says_nothing_of_its_runs(tmp_path):
    """Only how many there are."""
    with ResultsStore(tmp_path) as store:
        store.put_meta({"planned": 1_000_000, "cells": None})

    assert (tmp_path.name, 1_000_000) == (status_of(tmp_path).name, status_of(tmp_path).planned)
    json.dumps(status.to_plain(status_of(tmp_path)))
