"""Commands that print as lerobot-train does, and processes that are watched from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).with_name("training.py")
# What `actprof run` does after its pre-flight, which takes seconds: the passthrough alone.
PASSES = """
import os, sys
from actprof.running.passthrough import Passthrough
passthrough = Passthrough()
ended = passthrough.run(sys.argv[1:], dict(os.environ), lambda target, piece: None)
passthrough.say("said at the end")
sys.exit(ended.code)
"""


def passing(*words: str) -> list[str]:
    """Return the words of a process that runs a command as `actprof run` does."""
    return [sys.executable, "-c", PASSES, *map(str, words)]


def script(text: str, *words: str) -> list[str]:
    """Return a Python command."""
    return [sys.executable, "-c", text, *words]


@pytest.fixture
def start():
    """Return a function that starts a process in a group of its own; whatever is left is killed."""
    started = []

    def begin(words, **options):
        # who starts the tests may ignore Ctrl-C, as a shell does for what it puts in the background
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(words, **{"start_new_session": True, **options})
        finally:
            signal.signal(signal.SIGINT, former)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def group_of(pid: int) -> set[int]:
    """Return the processes below one, zombies left out."""
    found = {pid}
    for _ in range(5):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z" and int(parent) in found:
                found.add(int(entry.name))
    return found - {pid}
