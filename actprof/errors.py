"""What can go wrong, as one tree; each error carries its exit code and a message for the user.

    ActprofError (1)
    ├── UsageError (2)            the question is wrong: an option, a name, a value
    │   ├── ScenarioError (2)     ... in a scenario file, with its line
    │   └── SnapshotError (2)     ... in a memory snapshot
    ├── UnknownAnswerError (3)    the question is right, but cannot be answered exactly
    │   └── TraceError (3)        the training step could not be traced
    │       └── DiedError (3)     ... and the process that tried died of it
    └── StoreError (1)            a file that actprof wrote cannot be read or written

Only `actprof.cli.main` prints them; everything else raises.
"""

from __future__ import annotations


class ActprofError(Exception):
    """Base of all errors that actprof raises on purpose; `str(error)` is for the user."""

    exit_code = 1


class UsageError(ActprofError):
    """An option, a name or a value that cannot be; names it and the remedy."""

    exit_code = 2


class ScenarioError(UsageError):
    """A scenario or GPU file that cannot be used; says `file:line: what, and what instead`."""


class SnapshotError(UsageError):
    """A snapshot file that cannot be used; says what is wrong with it and how to get a good one."""


class UnknownAnswerError(ActprofError):
    """A well-formed question that cannot be answered exactly; says why."""

    exit_code = 3


class TraceError(UnknownAnswerError):
    """The training step does something that cannot be traced without the device."""


class DiedError(TraceError):
    """A process that traced, or predicted, died: it was killed, or crashed in C code."""


class StoreError(ActprofError):
    """A results store, report or cache file that cannot be read or written."""


def did_you_mean(word: str, *known: str, most: int = 3) -> str:
    """Return `did you mean a or b?` with at most so many of `known` that look like `word`, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, known, n=most)
    return f"did you mean {' or '.join(near)}?" if near else ""
