"""What all commands print with: pipes, terminals that know ASCII alone, and work that takes long."""

from __future__ import annotations

import io
import sys

import pytest

from actprof.cli.console import Waiting, output, plain_table, progress_listener
from actprof.progress import Progress, say


def test_piped_lines_have_no_blanks_at_their_ends(capsys):
    """Of a table whose columns differ in width; and they end at column 120."""
    table = plain_table("one", "two")
    table.add_row("a", "b")
    table.add_row("a longer text", "word " * 60)
    output().print(table)
    lines = capsys.readouterr().out.splitlines()

    assert all(line == line.rstrip() for line in lines)
    assert max(map(len, lines)) <= 120


def test_bars_and_marks_have_a_form_in_ascii(monkeypatch):
    """Where the terminal shows nothing else, and as wide as before."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    monkeypatch.setattr(sys, "stdout", shown)
    output().print("█░ ✓ ✗ 640×480 “x” −1")  # noqa: RUF001 - what it is about
    shown.flush()

    assert b'#. + x 640x480 "x" -1\n' == shown.buffer.getvalue()


def test_what_takes_long_is_told_once_where_nobody_looks(monkeypatch, capsys):
    """In a line on stderr; what is over soon is not told."""
    monkeypatch.setattr("actprof.cli.console._PATIENCE_SECONDS", 0.0)
    waiting = Waiting()
    for text in ("tracing: half a minute", "", "tracing: half a minute", ""):
        waiting(Progress(running=(text,) if text else ()))
        if waiting._line is not None:
            waiting._line.join()
    monkeypatch.setattr("actprof.cli.console._PATIENCE_SECONDS", 100.0)
    waiting(Progress(running=("short",)))
    waiting(Progress())

    assert "actprof: tracing: half a minute\n" == capsys.readouterr().err


@pytest.mark.parametrize("total", [0, 3])
def test_what_a_task_says_does_not_move_the_bar(total):
    """It does not know how many there are."""
    with progress_listener(start="starting") as listener:
        listener(Progress(total=total, done=1, running=("one",)))
        say("importing")
        say("")
