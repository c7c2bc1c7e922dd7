"""A fork begins with what its server has imported; whatever becomes of either, there is an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from processes import is_alive, kill_oneself, wait_until

from actprof.processes.child import tell
from actprof.processes.fork_server import ForkServer, _Forked, forked_from
from actprof.processes.worker import Conditions, WorkerError, call_alone

_imported: list[str] = []


def prepare(name=""):
    """Import, in the server."""
    _imported.append(name)
    return ""


def prepare_in_vain(_name):
    return "a device was started"


def prepare_and_die(_name):
    os._exit(1)


def prepare_with_an_error(_name):
    raise ZeroDivisionError("it cannot be")


def prepare_a_thread(_name):
    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
    return ""


def where():
    """Return what was imported before, the server's id, and the process's."""
    return _imported, forked_from(), os.getppid()


@pytest.fixture
def server():
    """A server that is ended after the test."""
    with ForkServer() as server:
        yield server


def call(server, function, *args, prepare=prepare, **conditions):
    """Return what `function` returns in a fork."""
    return call_alone(Conditions(start=server.starting(prepare, "lerobot"), **conditions), function, *args)


def test_a_fork_begins_with_what_its_server_imported(server):
    """One server for all; each fork has a process of its own, and leaves nothing to the next."""
    first, second = call(server, where), call(server, where)

    assert (["lerobot"], ["lerobot", "lerobot"]) == (first[0], second[0])
    assert first[1] == first[2] == second[1] == second[2] != os.getpid()
    assert call(server, os.getpid) != call(server, os.getpid)


def test_a_new_interpreter_was_forked_from_nobody():
    """It has imported nothing, and is our child."""
    assert ([], None, os.getpid()) == call_alone(Conditions(), where)


@pytest.mark.parametrize(
    "why_not", [prepare_in_vain, prepare_and_die, prepare_with_an_error, prepare_a_thread]
)
def test_where_nothing_can_be_forked_a_new_interpreter_is_started(server, why_not):
    """Also where importing ends the server."""
    assert ([], None, os.getpid()) == call(server, where, prepare=why_not)


def test_a_server_that_died_is_started_again(server):
    """At the next call."""
    before = call(server, where)[1]
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(before))

    after = call(server, where)[1]
    assert after is not None
    assert before != after


def test_the_death_of_a_fork_is_its_own(server):
    """The server forks on."""
    before = call(server, where)[1]
    with pytest.raises(WorkerError, match="the worker was killed by SIGKILL"):
        call(server, kill_oneself)
    assert before == call(server, where)[1]


def kill_the_server_and_wait():
    os.kill(forked_from(), signal.SIGKILL)
    time.sleep(99)


def test_a_fork_ends_with_its_server(server):
    """And its caller is told."""
    pids = []
    with pytest.raises(WorkerError, match="the worker was killed by SIGKILL"):
        call(server, kill_the_server_and_wait, started=pids.append)
    assert wait_until(lambda: not is_alive(pids[0]))


def test_many_run_at_once(server):
    """Each with an environment of its own."""
    found = {}

    def one(name):
        found[name] = call(server, os.getenv, "ONE", environment={"ONE": name})

    threads = [threading.Thread(target=one, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: name for name in "abcd"} == found


def test_a_server_that_is_closed_ends_what_it_started(server):
    """Whoever waits has an error, also where a new interpreter was started."""
    pids, errors = [], []

    def wait(prepare):
        try:
            call(server, time.sleep, 99, started=pids.append, prepare=prepare)
        except WorkerError as error:
            errors.append(error.reason)

    threads = [threading.Thread(target=wait, args=(how,)) for how in (prepare, prepare_in_vain)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(pids) == 2)
    server.close()
    for thread in threads:
        thread.join()

    assert 2 == sum("killed by SIGKILL" in reason for reason in errors)
    assert not any(is_alive(pid) for pid in pids)


def tell_and_hang():
    tell(f"{os.getpid()} {forked_from()}")
    time.sleep(99)


def test_a_killed_parent_leaves_neither(tmp_path):
    """`kill -9` of the parent: the server and its fork, which only sleeps, end by themselves."""
    place = tmp_path / "pids"
    parent = textwrap.dedent(f"""
    import sys
    from pathlib import Path
    sys.path[:] = {sys.path!r}
    from test_fork_server import ForkServer, call, tell_and_hang
    call(ForkServer(), tell_and_hang, listener=lambda told: Path({str(place)!r}).write_text(told.text))
    """)
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        assert wait_until(lambda: place.exists() and place.read_text())
        process.kill()
    pids = [int(pid) for pid in place.read_text().split()]
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_two_who_wait_for_a_fork_both_learn_its_exit_code():
    """The server says it once: to who ends it late, or to who waits for its answer."""
    said = [-9]

    def ask():
        code = said.pop() if said else None
        time.sleep(0.05)
        return code

    forked = _Forked(1, ask)
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(forked.wait(5)), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [-9, -9] == codes
