"""What a command sees, and what becomes of it: streams, terminal, signals, exit code, nothing left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress

import pytest
from conftest import group_of, passing, script
from processes import is_alive, wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups and terminals are POSIX's")

WAITS = "import sys, time; print('ready', flush=True); time.sleep(60)"
IGNORES_HANGUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""
# A launcher that is told nothing of signals and waits for what it started: as accelerate's is.
LAUNCHES = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"


def test_streams_and_exit_code_are_the_commands():
    """What is typed arrives, stdout and stderr stay apart, and the code is that of the command."""
    text = "import sys; print(sys.stdin.read()); print('e', file=sys.stderr); sys.exit(7)"
    done = subprocess.run(passing(*script(text)), input="in", capture_output=True, text=True, check=False)
    assert (7, "in\n", "e\nsaid at the end\n") == (done.returncode, done.stdout, done.stderr)


def test_streams_that_go_to_one_place_keep_their_order():
    """As in `actprof run … > log 2>&1`."""
    text = "import os\nfor i in range(200): os.write(1 + i % 2, b'%d ' % i)"
    done = subprocess.run(
        passing(*script(text)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert [str(i) for i in range(200)] == done.stdout.splitlines()[0].split()


def test_without_a_terminal_the_command_has_none():
    """A pipe is a pipe."""
    text = "import os; print([os.isatty(i) for i in (0, 1, 2)])"
    done = subprocess.run(
        passing(*script(text)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "[False, False, False]\n" == done.stdout


def test_a_signal_that_kills_the_command_is_told_as_a_shell_does():
    """128 + n."""
    done = subprocess.run(
        passing(*script("import os; os.kill(os.getpid(), 9)")), capture_output=True, check=False
    )
    assert 128 + 9 == done.returncode


def test_a_command_that_is_not_there_is_a_usage_error():
    """Without a traceback of subprocess's."""
    done = subprocess.run(passing("/no/such/program"), capture_output=True, text=True, check=False)
    assert "UsageError: /no/such/program cannot be started (No such file or directory)" in done.stderr


@pytest.mark.parametrize("whom", ["actprof alone", "the process group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_command_and_nothing_is_left(start, number, whom):
    """Also behind a launcher that passes nothing on; as Ctrl-C sends them, and as `kill` does."""
    process = start(passing(*script(LAUNCHES, WAITS)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert b"ready\n" == process.stdout.readline()
    below = group_of(process.pid)
    assert 2 == len(below)
    (os.kill if whom == "actprof alone" else os.killpg)(process.pid, number)
    assert 128 + number == process.wait(20)
    assert wait_until(lambda: not any(map(is_alive, below)))


def test_a_command_may_take_its_time_to_end(start):
    """A training that saves on Ctrl-C is waited for, and its own exit code counts."""
    text = """
import signal, sys, time
def save(*_): time.sleep(0.5); print('saved', flush=True); sys.exit(3)
signal.signal(signal.SIGINT, save)
print('ready', flush=True)
time.sleep(60)
"""
    process = start(passing(*script(text)), stdout=subprocess.PIPE)
    assert b"ready\n" == process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    assert (3, b"saved\n") == (process.wait(20), process.stdout.read())


def test_what_the_command_leaves_behind_is_ended(start):
    """A worker that outlives its training holds memory of the card."""
    text = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {WAITS!r}]).pid, flush=True)"
    )
    words = passing(*script(text))
    words[2] = "import actprof.running.passthrough as it; it._GRACE_SECONDS = 0.5\n" + words[2]
    process = start(words, stdout=subprocess.PIPE)
    left = int(process.stdout.readline())
    assert 0 == process.wait(20)
    assert wait_until(lambda: not is_alive(left))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child that its parent is gone")
def test_when_actprof_is_killed_the_command_ends(start):
    """No training goes on that nobody can see."""
    process = start(passing(*script(WAITS)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert b"ready\n" == process.stdout.readline()
    (below,) = group_of(process.pid)
    process.kill()
    assert wait_until(lambda: not is_alive(below))


def test_ignored_signals_stay_ignored(start):
    """As nohup has it."""
    process = start(
        script(IGNORES_HANGUP, *passing(*script(WAITS.replace("60", "1.5")))), stdout=subprocess.PIPE
    )
    assert b"ready\n" == process.stdout.readline()
    os.killpg(process.pid, signal.SIGHUP)
    assert 0 == process.wait(20)


def test_a_reader_that_leaves_ends_the_command(start):
    """`actprof run … | head` is a broken pipe for the command, as without us."""
    text = "import time\nwhile True: print('x' * 1000, flush=True); time.sleep(0.01)"
    process = start(passing(*script(text)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdout.close()
    assert 0 != process.wait(20)


# -- at a terminal -------------------------------------------------------------------------------------------


class Terminal:
    """A terminal with a process in front of it, as a shell has one."""

    def __init__(self, words):
        self.pid, self.master = pty.fork()
        if not self.pid:
            os.execv(words[0], words)  # noqa: S606 - a test's own command
        self.text = ""

    def type(self, keys):
        os.write(self.master, keys)

    def shows(self, text, seconds=20):
        """Return whether a text appears, after what was looked for before."""
        os.set_blocking(self.master, False)

        def seen():
            with suppress(OSError):
                self.text += os.read(self.master, 65536).decode(errors="replace")
            return text in self.text

        found = wait_until(seen, seconds)
        self.text = self.text.partition(text)[2] if found else self.text
        return found

    def code(self, seconds=20):
        found = []

        def ended():
            self.shows("\0", 0.01)  # so that the terminal takes what is printed
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                found.append(os.waitstatus_to_exitcode(status))
            return pid

        assert wait_until(ended, seconds)
        return found[0]


@pytest.fixture
def terminal():
    """Return a function that starts a command at a terminal of its own."""
    opened = []

    def begin(words):
        opened.append(Terminal(words))
        return opened[-1]

    yield begin
    for it in opened:
        with suppress(OSError):  # it has ended
            os.killpg(it.pid, signal.SIGKILL)
            os.waitpid(it.pid, 0)
        os.close(it.master)


def test_at_a_terminal_the_command_sees_one_of_the_same_size(terminal):
    """Colours and progress bars stay; a changed size arrives."""
    text = """
import os, signal, time
print([os.isatty(i) for i in (0, 1, 2)], flush=True)
def say(*_): print(os.get_terminal_size(2), flush=True)
signal.signal(signal.SIGWINCH, say)
say()
while True: time.sleep(0.05)
"""
    it = terminal(passing(*script(text)))
    assert it.shows("[True, True, True]")
    termios.tcsetwinsize(it.master, (40, 100))
    assert it.shows("columns=100, lines=40")


def test_ctrl_c_ends_the_command_and_us(terminal):
    """One key, one signal."""
    text = """
import signal, sys, time
count = []
signal.signal(signal.SIGINT, lambda *_: count.append(1))
print('ready', flush=True)
while not count: time.sleep(0.05)
time.sleep(0.5)
sys.exit(10 + len(count))
"""
    it = terminal(passing(*script(text)))
    assert it.shows("ready")
    it.type(b"\x03")
    assert 11 == it.code()


def test_a_prompt_gets_the_terminal(terminal):
    """What the command asks is answered at the keyboard, and Ctrl-C still reaches it."""
    it = terminal(passing(*script("print(input('key: ')[::-1]); input('more: ')")))
    assert it.shows("key: ")
    it.type(b"abc\n")
    assert it.shows("cba")
    assert it.shows("more: ")
    it.type(b"\x03")
    assert it.shows("KeyboardInterrupt")
    assert 130 == it.code()


SHELL = """
import os, signal, subprocess, sys, time
job = subprocess.Popen(sys.argv[1:], process_group=0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, job.pid)
_, status = os.waitpid(job.pid, os.WUNTRACED)
assert os.WIFSTOPPED(status), status
os.tcsetpgrp(0, os.getpgrp())
print('stopped', flush=True)
time.sleep(0.5)
print('resumed', flush=True)
os.tcsetpgrp(0, job.pid)
os.killpg(job.pid, signal.SIGCONT)
_, status = os.waitpid(job.pid, os.WUNTRACED)
print('ended', os.waitstatus_to_exitcode(status), flush=True)
"""


def test_ctrl_z_stops_both_and_both_go_on(terminal):
    """As a job of a shell."""
    counts = "import time\nfor i in range(40): print(i, flush=True); time.sleep(0.05)"
    it = terminal(script(SHELL, *passing(*script(counts))))
    assert it.shows("5\r\n")
    it.type(b"\x1a")
    assert it.shows("stopped")
    time.sleep(0.3)
    assert it.shows("resumed")
    assert "\r\n" not in it.text.partition("resumed")[0].strip()
    assert it.shows("39\r\n")
    assert it.shows("ended 0")
