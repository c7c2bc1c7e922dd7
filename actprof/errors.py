"""What can go wrong, as one tree; each error carries its exit code and a message for the user.

    ActprofError (1)
    ├── UsageError (2)            the question is wrong: an option, a name, a value
    │   ├── FieldError (2)        ... a field of the policy's config, or its value
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


class FieldError(UsageError):
    """Fields of a policy's config that cannot be; `str(error)` names them as `--set FIELD=VALUE` does.

    Args:
        text: for the user.
        fields: names of the fields at fault; several where it is not known which.
    """

    def __init__(self, text: str, *fields: str) -> None:
        super().__init__(text, *fields)
        self.fields = fields

    def __str__(self) -> str:
        """Return the text alone."""
        return str(self.args[0])


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


def reason_of(error: BaseException) -> str:
    """Return why there is no answer, in a sentence, whatever went wrong."""
    if isinstance(error, ActprofError):
        return str(error)
    if isinstance(error, MemoryError):
        return "this machine has too little memory to work it out"
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"actprof failed ({said}); please report this"


def did_you_mean(word: str, *known: str, most: int = 3) -> str:
    """Return `did you mean a or b?` with at most so many of `known` that look like `word`, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, known, n=most)
    return f"did you mean {' or '.join(near)}?" if near else ""
