"""A call may do what it likes to its process: there is an answer or an error, and nothing is left behind.

The process is a new interpreter, or the fork of one: nobody who calls can tell.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import pytest
from processes import is_alive, wait_until

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measurement import DeviceFacts
from actprof.measuring.request import Answer, Request
from actprof.processes import child
from actprof.processes.child import tell
from actprof.processes.fork_server import ForkServer
from actprof.processes.worker import Conditions, WorkerError, call_alone

REQUEST = Request(cell=Cell(batch_size=3, overrides={"chunk_size": 7}))
ANSWER = Answer(device=DeviceFacts(type="cpu", name="it"), encoder_tokens=602)


def prepare():
    """Import nothing, and have nothing against a fork."""
    return ""


@pytest.fixture(scope="module")
def server():
    """A server that forks."""
    with ForkServer() as server:
        yield server


@pytest.fixture(params=["a new interpreter", "a fork"])
def call(request, server):
    """A function that returns what `function` returns in a process of its own."""
    start = {"start": server.starting(prepare)} if request.param == "a fork" else {}
    return lambda function, *args, **conditions: call_alone(
        Conditions(**conditions, **start), function, *args
    )


def send_bytes(data):
    """Send the parent what is no message, in an envelope of the right length."""
    child._to_parent.send_bytes(data)
    time.sleep(60)


def write(data):
    """Write on the pipe as somebody who does not know what it is."""
    os.write(child._to_parent.fileno(), data)


def noisy(request):
    """Answer, and print."""
    tell(str(request.cell.batch_size) + os.environ["PYTORCH_CUDA_ALLOC_CONF"])
    print("noise on stdout")  # noqa: T201 - that is the point
    print("noise on stderr", file=sys.stderr)  # noqa: T201 - the same
    return request, ANSWER


def test_request_and_answer_travel_whole(call):
    """The worker reads the request as it was; what it answers arrives as it was; progress is told."""
    told = []
    found = call(noisy, REQUEST, listener=told.append, environment={"PYTORCH_CUDA_ALLOC_CONF": "x"})
    assert (REQUEST, ANSWER) == found
    assert ["3x"] == [state.text for state in told]


def kill_with(number):
    os.kill(os.getpid(), number)


def write_and_wait(data):
    write(data)
    time.sleep(60)


def write_and_leave(data):
    write(data)
    os._exit(0)


def close_and_wait():
    child._to_parent.close()
    time.sleep(60)


class Unlike:
    """A record that the parent knows otherwise."""

    def __reduce__(self):
        return Answer, (1, 2, 3)


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (kill_with, signal.SIGKILL, "the worker was killed by SIGKILL"),
        (kill_with, signal.SIGSEGV, "the worker was killed by SIGSEGV"),
        (sys.exit, 7, "the worker ended with exit code 7 and without an answer"),
        (write_and_wait, b"not json\n", "the worker sent what is no message"),
        (send_bytes, b"not json\n", "the worker sent what is no message .garbage: b'not json"),
        (send_bytes, pickle.dumps({"surprise": 1}), "the worker sent what is no message"),
        (send_bytes, pickle.dumps([1]), "the worker sent what is no message"),
        (send_bytes, pickle.dumps("text"), "the worker sent what is no message"),
        (send_bytes, pickle.dumps(("returned", Unlike())), "not understood"),
        (send_bytes, b"cnowhere\nNothing\n.", "not understood"),
        (write_and_leave, b"half a line", "the worker sent what is no message"),
        (write_and_leave, struct.pack("!i", 100) + b"half a message", "exit code 0"),
    ],
)
def test_a_worker_that_gives_no_answer_is_an_error(call, function, argument, said):
    """Killed, crashed, garbage, nothing: the error says which, and the process is gone."""
    pids = []
    with pytest.raises(WorkerError, match=said):
        call(function, argument, started=pids.append)
    assert not is_alive(pids[0])


def test_a_worker_that_closes_its_pipe_is_ended(call, monkeypatch):
    """It may go on, but nobody can hear it."""
    monkeypatch.setattr("actprof.processes.process._GRACE_SECONDS", 0.5)
    pids = []
    with pytest.raises(WorkerError, match="stopped talking without an answer, and was ended"):
        call(close_and_wait, started=pids.append)
    assert not is_alive(pids[0])


def print_lines():
    print("\n".join(f"line {i}" for i in range(99)), file=sys.stderr)  # noqa: T201 - that is the point
    sys.exit(1)


def raise_error():
    raise ZeroDivisionError("it cannot be")


def test_the_last_lines_of_stderr_come_with_the_error(call):
    """Of a traceback the end is what helps; stdout belongs to it."""
    with pytest.raises(WorkerError) as caught:
        call(print_lines)
    assert 12 == len(caught.value.stderr)
    assert "line 98" == caught.value.stderr[-1]


def test_an_exception_ends_the_worker_with_its_traceback(call):
    """What is not the user's to mend is a run that failed."""
    with pytest.raises(WorkerError, match="exit code 1 and without an answer") as caught:
        call(raise_error)
    assert "ZeroDivisionError: it cannot be" == caught.value.stderr[-1]


def start_another_and_hang():
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    tell(str(started.pid))
    time.sleep(99)


def test_a_hung_worker_is_ended_after_the_timeout(call):
    """With what it started."""
    pids = []
    with pytest.raises(WorkerError, match="within 3 s"):
        call(
            start_another_and_hang, timeout=3, started=pids.append,
            listener=lambda state: pids.append(int(state.text)),
        )  # fmt: skip
    assert 2 == len(pids)
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_half_a_message_is_not_waited_for_longer_than_the_timeout(call):
    """Nor is one that never ends."""
    with pytest.raises(WorkerError, match="within 2 s"):
        call(write_and_wait, struct.pack("!i", 100) + b"half", timeout=2)


def fork_and_leave():
    forked = os.fork()
    if not forked:
        time.sleep(99)
    tell(str(forked))
    os._exit(3)


def test_what_a_dead_worker_left_behind_is_not_waited_for(call):
    """A fork holds the pipe open; the worker's end is seen all the same, and the fork is ended."""
    pids = []
    with pytest.raises(WorkerError, match="exit code 3"):
        call(fork_and_leave, timeout=60, listener=lambda state: pids.append(int(state.text)))
    assert wait_until(lambda: not is_alive(pids[0]))


def answer_and_leave():
    child._to_parent.send(("returned", ANSWER))
    os._exit(1)


def test_an_answer_counts_though_the_worker_is_gone(call):
    """What it wrote before it ended is read."""
    told = call(answer_and_leave, started=lambda _pid: time.sleep(1))
    assert "it" == told.device.name


def refuse():
    raise UsageError("no such field")


def test_what_lerobot_refuses_is_a_usage_error(call):
    """It is not the run that failed."""
    with pytest.raises(UsageError, match="no such field"):
        call(refuse)


def test_an_interrupt_leaves_no_worker(call):
    """Ctrl-C in the parent ends the worker first."""
    pids = []

    def interrupt(pid):
        pids.append(pid)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        call(time.sleep, 99, started=interrupt)
    assert not is_alive(pids[0])


def test_an_interrupt_does_not_reach_the_worker(call):
    """It is for the parent, which decides."""
    assert "it" == call(interrupt_oneself).device.name


def interrupt_oneself():
    os.kill(os.getpid(), signal.SIGINT)
    return ANSWER


def leave_pid_and_hang(place):
    with open(place, "w", encoding="utf-8") as file:  # noqa: PTH123 - as little as can be
        file.write(str(os.getpid()))
    time.sleep(99)


def test_a_killed_parent_leaves_no_worker(tmp_path):
    """`kill -9` of the parent: the worker, which only sleeps, ends by itself."""
    place = tmp_path / "pid"
    parent = textwrap.dedent(f"""
    import sys
    sys.path[:] = {sys.path!r}
    from actprof.processes.worker import Conditions, call_alone
    from test_call_alone import leave_pid_and_hang
    call_alone(Conditions(), leave_pid_and_hang, {str(place)!r})
    """)
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        assert wait_until(lambda: place.exists() and place.read_text())
        process.kill()
    assert wait_until(lambda: not is_alive(int(place.read_text())))


def tell_variables():
    tell(str([os.environ.get(name) for name in ("ONE", "OTHER")]))
    sys.exit(3)


def test_a_variable_of_ours_can_be_kept_from_a_worker(call, monkeypatch):
    """None takes it away; everything else is handed on."""
    monkeypatch.setenv("ONE", "1")
    monkeypatch.setenv("OTHER", "2")
    told = []
    with pytest.raises(WorkerError):
        call(tell_variables, environment={"ONE": None}, listener=told.append)
    assert ["[None, '2']"] == [state.text for state in told]


def test_the_answer_is_told_while_the_worker_is_still_there(call):
    """What watches its memory stops then: what it gives back at its end is no measurement."""
    pids, alive = [], []
    call(os.getpid, started=pids.append, answered=lambda: alive.append(is_alive(pids[0])))
    assert [True] == alive
    assert not is_alive(pids[0])


def test_a_worker_that_cannot_be_started_is_an_error(monkeypatch):
    """A row of a sweep, not its end."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerError, match="no worker can be started"):
        call_alone(Conditions(), os.getpid)


def test_no_room_for_temporary_files_is_an_error(monkeypatch):
    """It says what can be done."""

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(WorkerError, match=r"No space left on device.*TMPDIR"):
        call_alone(Conditions(), os.getpid)
