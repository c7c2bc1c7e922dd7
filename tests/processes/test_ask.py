"""A worker process may do what it likes: there is an answer or an error, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
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
from actprof.measuring.request import Answer, Request, run_worker
from actprof.processes.ask import WorkerError
from actprof.records import to_plain

REQUEST = Request(cell=Cell(batch_size=3, overrides={"chunk_size": 7}))
PRELUDE = """
import json, os, signal, sys, time
pipe = os.fdopen(int(sys.argv[1]), "w")
def send(message):
    pipe.write(json.dumps(message) + "\\n"); pipe.flush()
"""


def worker(body):
    """Return the command of a worker that does `body`."""
    return (sys.executable, "-c", PRELUDE + textwrap.dedent(body))


def test_request_and_answer_travel_whole():
    """The worker reads the request as it was; what it answers arrives as it was; progress is told."""
    told = []
    answer = Answer(device=DeviceFacts(type="cpu", name="it"), encoder_tokens=602)
    body = f"""
    request = json.load(sys.stdin)
    send({{"progress": str(request["cell"]["batch_size"]) + os.environ["PYTORCH_CUDA_ALLOC_CONF"]}})
    print("noise on stdout"); print("noise on stderr", file=sys.stderr)
    send({{"answer": json.loads({__import__("json").dumps(to_plain(answer))!r})}})
    """
    found = run_worker(
        REQUEST, command=worker(body), progress=told.append, environment={"PYTORCH_CUDA_ALLOC_CONF": "x"}
    )
    assert answer == found
    assert ["3x"] == told


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("sys.exit(7)", "exit code 7"),
        ("pipe.write('not json\\n'); pipe.flush(); time.sleep(60)", "no message"),
        ("send({'surprise': 1}); time.sleep(60)", "no message"),
        ("send([1]); time.sleep(60)", "no message"),
        ("send({'answer': {'device': 5, 'oom': 1}})", "not understood"),
        ("send({'answer': {}})", "not understood"),
        ("send({'answer': 'text'})", "not understood"),
        ("pipe.write('half a line'); pipe.flush(); sys.exit(0)", "exit code 0"),
    ],
)
def test_a_worker_that_gives_no_answer_is_an_error(body, said):
    """Killed, crashed, garbage, nothing: the error says which, and the process is gone."""
    pids = []
    with pytest.raises(WorkerError, match=said):
        run_worker(REQUEST, command=worker("json.load(sys.stdin)\n" + body), started=pids.append)
    assert not is_alive(pids[0])


def test_the_last_lines_of_stderr_come_with_the_error():
    """Of a traceback the end is what helps; stdout belongs to it."""
    body = "print('\\n'.join(f'line {i}' for i in range(99)), file=sys.stderr)\nsys.exit(1)"
    with pytest.raises(WorkerError) as caught:
        run_worker(REQUEST, command=worker(body))
    assert 12 == len(caught.value.stderr)
    assert "line 98" == caught.value.stderr[-1]


def test_a_hung_worker_is_ended_after_the_timeout():
    """With what it started."""
    pids = []
    body = """
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    send({"progress": str(child.pid)})
    time.sleep(99)
    """
    with pytest.raises(WorkerError, match="within 3 s"):
        run_worker(
            REQUEST, command=worker(body), timeout=3, started=pids.append,
            progress=lambda text: pids.append(int(text)),
        )  # fmt: skip
    assert 2 == len(pids)
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_what_a_dead_worker_left_behind_is_not_waited_for():
    """A fork holds the pipe open; the worker's end is seen all the same, and the fork is ended."""
    pids = []
    body = """
    import json
    json.load(sys.stdin)
    child = os.fork()
    if not child:
        time.sleep(99)
    send({"progress": str(child)})
    os._exit(3)
    """
    with pytest.raises(WorkerError, match="exit code 3"):
        run_worker(REQUEST, command=worker(body), timeout=60, progress=lambda text: pids.append(int(text)))
    assert wait_until(lambda: not is_alive(pids[0]))


def test_an_answer_counts_though_the_worker_is_gone():
    """What it wrote before it ended is read."""
    answer = {"answer": to_plain(Answer(device=DeviceFacts(type="cpu", name="it")))}
    body = f"send(json.loads({__import__('json').dumps(answer)!r}))\nos._exit(1)"
    told = run_worker(REQUEST, command=worker(body), started=lambda _pid: time.sleep(1))
    assert "it" == told.device.name


def test_what_lerobot_refuses_is_a_usage_error():
    """It is not the run that failed."""
    with pytest.raises(UsageError, match="no such field"):
        run_worker(REQUEST, command=worker("send({'usage_error': 'no such field'})"))


def test_an_interrupt_leaves_no_worker():
    """Ctrl-C in the parent ends the worker first."""
    pids = []

    def interrupt(pid):
        pids.append(pid)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_worker(REQUEST, command=worker("time.sleep(99)"), started=interrupt)
    assert not is_alive(pids[0])


def test_a_killed_parent_leaves_no_worker(tmp_path):
    """`kill -9` of the parent: the worker, which only sleeps, ends by itself."""
    place = tmp_path / "pid"
    body = f"""
    from actprof.processes.lifetime import end_with_parent
    end_with_parent(int(sys.argv[2]))
    open({str(place)!r}, "w").write(str(os.getpid()))
    time.sleep(99)
    """
    parent = textwrap.dedent(f"""
    import sys
    from actprof.measuring.request import run_worker
    from actprof.measuring.request import Request
    from actprof.cell import Cell
    run_worker(Request(cell=Cell()), command={worker(body)!r})
    """)
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        assert wait_until(lambda: place.exists() and place.read_text())
        process.kill()
    assert wait_until(lambda: not is_alive(int(place.read_text())))


def test_a_variable_of_ours_can_be_kept_from_a_worker(monkeypatch):
    """None takes it away; everything else is handed on."""
    monkeypatch.setenv("ONE", "1")
    monkeypatch.setenv("OTHER", "2")
    told = []
    body = "send({'progress': str([os.environ.get(name) for name in ('ONE', 'OTHER')])})\nsys.exit(3)"
    with pytest.raises(WorkerError):
        run_worker(REQUEST, command=worker(body), environment={"ONE": None}, progress=told.append)
    assert ["[None, '2']"] == told


def test_the_answer_is_told_while_the_worker_is_still_there():
    """What watches its memory stops then: what it gives back at its end is no measurement."""
    answer = {"answer": to_plain(Answer(device=DeviceFacts(type="cpu", name="it")))}
    body = f"send(json.loads({json.dumps(answer)!r}))\ntime.sleep(60)"
    pids, alive = [], []
    run_worker(
        REQUEST, command=worker(body), started=pids.append, answered=lambda: alive.append(is_alive(pids[0]))
    )
    assert [True] == alive
    assert not is_alive(pids[0])


def test_a_worker_that_cannot_be_started_is_an_error():
    """A row of a sweep, not its end."""
    with pytest.raises(WorkerError, match="no worker can be started"):
        run_worker(REQUEST, command=("/nowhere/python",))


def test_no_room_for_temporary_files_is_an_error(monkeypatch):
    """It says what can be done."""

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(WorkerError, match=r"No space left on device.*TMPDIR"):
        run_worker(REQUEST, command=worker("sys.exit(0)"))
