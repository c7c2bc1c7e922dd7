"""Run commands as a user does, in this process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from actprof.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs `actprof ARGUMENTS…`."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("actprof.cli.console._PATIENCE_SECONDS", 1e6)  # however slow the machine is today

    def run_command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["actprof", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return run_command
