"""A worker does what it is asked, and its death is an error of the caller, who lives on."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from processes import crash, is_alive, kill_oneself, wait_until

from actprof.errors import DiedError, UsageError
from actprof.processes.child import in_worker, tell
from actprof.processes.process import how_it_ended
from actprof.processes.worker import Worker
from actprof.progress import listening


@pytest.fixture
def worker():
    """A worker that is ended after the test."""
    worker = Worker()
    yield worker
    worker.close()


def refuse(text):
    raise UsageError(text)


def leave(code):
    os._exit(code)


def test_calls_run_in_one_other_process(worker):
    """One after another, with their arguments; only there a process is told that it is a worker."""
    first, second = worker.call(os.getpid), worker.call(os.getpid)
    assert first == second != os.getpid()
    assert [1, 2] == worker.call(sorted, [2, 1], key=abs)
    assert (False, True) == (in_worker(), worker.call(in_worker))


def test_errors_keep_their_class_and_message(worker):
    """And say in a note where they were raised; the worker goes on."""
    pid = worker.call(os.getpid)
    with pytest.raises(UsageError) as caught:
        worker.call(refuse, "no field 'a'")
    assert "no field 'a'" == str(caught.value)
    assert "in refuse" in "".join(caught.value.__notes__)
    assert pid == worker.call(os.getpid)


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (crash, None, "was killed by SIGSEGV"),
        (kill_oneself, None, "was killed by SIGKILL (the machine may have run out of memory)"),
        (leave, 3, "ended with exit code 3"),
    ],
)
def test_a_death_is_an_error_and_the_next_call_has_a_new_process(worker, function, argument, said):
    """The message says how it ended."""
    pid = worker.call(os.getpid)
    with pytest.raises(DiedError) as caught:
        worker.call(function, argument)
    assert f"the process that worked on it {said}" == str(caught.value)
    assert pid != worker.call(os.getpid)


def test_a_worker_that_was_killed_between_two_calls_is_replaced(worker):
    """Nothing was lost."""
    pid = worker.call(os.getpid)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not worker._process.is_idle)  # it reads as ended
    assert pid != worker.call(os.getpid)


def test_a_process_that_a_dead_worker_left_behind_is_not_waited_for(worker):
    """It holds the other end of the pipe."""
    with pytest.raises(DiedError):
        worker.call(fork_and_die)


def fork_and_die():
    if os.fork():
        os._exit(1)
    time.sleep(5)
    os._exit(0)


def test_closing_ends_a_call_that_waits(worker):
    """From another thread, which is how a sweep is interrupted."""
    pid = worker.call(os.getpid)
    threading.Timer(0.2, worker.close).start()
    with pytest.raises(DiedError):
        worker.call(time.sleep, 60)
    assert not is_alive(pid)
    with pytest.raises(DiedError):  # nor does a call start another
        worker.call(os.getpid)


def test_an_interrupt_ends_the_process_and_the_next_call_has_a_new_one(worker):
    """Ctrl-C: nobody waits for the answer any more."""
    pid = worker.call(os.getpid)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        worker.call(time.sleep, 60)
    assert not is_alive(pid)
    assert pid != worker.call(os.getpid)


def test_where_no_process_can_be_started_that_is_said(worker, monkeypatch):
    """An error like a death: there is no answer."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DiedError, match="no process can be started"):
        worker.call(os.getpid)


def test_variables_are_added_and_others_handed_on(monkeypatch):
    """None takes one of ours away."""
    monkeypatch.setenv("ONE", "ours")
    monkeypatch.setenv("GONE", "ours")
    worker = Worker({"OTHER": "theirs", "GONE": None})
    names = ("ONE", "OTHER", "GONE")
    assert ["ours", "theirs", None] == [worker.call(os.getenv, name) for name in names]
    worker.close()


def test_a_script_needs_no_guard(tmp_path):
    """It is not run a second time in the worker, which finds what the script could import."""
    (tmp_path / "beside.py").write_text("import os\ndef pid():\n    return os.getpid()\n")
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nimport os, beside\nfrom actprof.processes.worker import Worker\n"
        "assert Worker().call(beside.pid) != os.getpid()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ("once\n", "", 0) == (done.stdout, done.stderr, done.returncode)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit()"], ids=["killed", "at its end"])
def test_a_worker_ends_with_its_parent(tmp_path, end):
    """Whether it works or waits."""
    place = tmp_path / "pid"
    parent = textwrap.dedent(f"""
    import os, sys, threading, time
    from actprof.processes.worker import Worker
    worker, other = Worker(), Worker()
    pids = worker.call(os.getpid), other.call(os.getpid)
    threading.Thread(target=worker.call, args=(time.sleep, 60), daemon=True).start()
    time.sleep(0.2)
    open({str(place)!r}, "w").write(f"{{pids[0]}} {{pids[1]}}")
    {end}
    """)
    subprocess.run([sys.executable, "-c", parent], check=False)
    pids = [int(pid) for pid in place.read_text().split()]
    assert wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize(
    ("code", "said"), [(0, "ended with exit code 0"), (-6, "was killed by SIGABRT"), (-250, "signal 250")]
)
def test_an_exit_code_is_put_into_words(code, said):
    """Signals by their names."""
    assert said in how_it_ended(code)


def test_what_a_worker_says_reaches_who_listens_to_the_thread(worker):
    """In its process or in ours; no words mean that it is over."""
    told = []
    with listening(told.append):
        worker.call(tell, "tracing")
        tell("")
    worker.call(tell, "not heard")

    assert ["tracing", ""] == [progress.text for progress in told]
