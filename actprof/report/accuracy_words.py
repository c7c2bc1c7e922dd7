"""How true predictions are, in the sentences that come first: on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from actprof.ledger.accuracy import Accuracy
from actprof.ledger.kinds import Errors
from actprof.ledger.row import AccuracyRow
from actprof.words import NARROW_SPACE, capital, plural, spell

_SUBJECT = 3  # words of a row that say what is trained
_ENOUGH = 3  # rows from which on a median means something


def lead(found: Accuracy) -> str:
    """Return the sentences that matter most, of as many rows as there are."""
    if not found.rows:
        return "No run has been compared with its prediction yet."
    return " ".join(
        filter(None, (_say_allocated(found.allocated), _say_off(found.reserved), _say_verdicts(found)))
    )


def more(found: Accuracy) -> str:
    """Return what is to be said of kinds of runs, or nothing."""
    return " ".join(filter(None, (_say_expandable(found), _say_reserved(found), _say_boundaries(found))))


def _say_allocated(errors: Errors) -> str:
    if errors.worst_percent is None or errors.median_percent is None:
        return "Allocated memory has not been compared with a real run yet."
    worst = percent_text(errors.worst_percent)
    runs = f"{spell(errors.n)} {plural(errors.n, 'run')}"
    if errors.n < _ENOUGH:
        return f"In {runs}, predicted allocated memory is within {worst} of what was measured."
    median = percent_text(errors.median_percent)
    return f"Over {runs}, predicted allocated memory is {median} off in the median, and {worst} at worst."


def _say_off(errors: Errors) -> str:
    """Return how far reserved memory is off, the band left aside, once a median means something."""
    if errors.n < _ENOUGH or errors.worst_percent is None or errors.median_percent is None:
        return ""
    median, worst = percent_text(errors.median_percent), percent_text(errors.worst_percent)
    off = f"{median} off in the median, and {worst} at worst"
    return f"Reserved memory, which decides whether a run fits, is {off}."


def _say_expandable(found: Accuracy) -> str:
    kinds = [kind.allocated for kind in found.kinds if kind.expandable and kind.origin == "measured"]
    n, exact = sum(one.n for one in kinds), sum(one.exact for one in kinds)
    exactly = f"exact to the byte in {exact} of {n} runs"
    return f"With expandable segments allocated memory is {exactly}." if n else ""


def _say_reserved(found: Accuracy) -> str:
    """Return a sentence on the band, and on runs of which no plan is chosen by time."""
    band = found.reserved_band
    held = f"within the predicted band in {band.held} of {band.n} runs" if band.n else ""
    fixed = [kind.reserved.worst_percent for kind in found.kinds if kind.deterministic]
    worst = max((percent for percent in fixed if percent is not None), default=None)
    off = "" if worst is None else f"in deterministic runs {percent_text(worst)} off at worst"
    said = ", and ".join(filter(None, (held, off)))
    return f"Reserved memory is {said}." if said else ""


def _say_verdicts(found: Accuracy) -> str:
    verdicts = found.verdicts
    wrong = len(verdicts.said_runs_ran_out)
    if wrong:
        runs = "run that was" if wrong == 1 else "runs that were"
        return f"{capital(spell(wrong))} {runs} said to get through ran out of memory."
    if not verdicts.n:
        return ""
    if verdicts.n == verdicts.agree:
        return f"{capital(spell(verdicts.n))} of {spell(verdicts.n)} ran, or ran out, as they were said to."
    ran = spell(len(verdicts.said_oom_ran))
    return f"No run that was said to get through ran out; {ran} said to run out ran."


def _say_boundaries(found: Accuracy) -> str:
    matches = found.boundaries
    if not matches.n:
        return ""
    return f"The largest batch size is exact in {matches.exact} of {matches.n} searches."


def shared_words(rows: Sequence[AccuracyRow]) -> tuple[str, ...]:
    """Return the words that all of several rows have, beside policy, cameras and batch size."""
    if len(rows) < 2:
        return ()
    return tuple(word for word in rows[0].words[_SUBJECT:] if all(word in row.words for row in rows))


def short_name(row: AccuracyRow, shared: Sequence[str]) -> str:
    """Return a row's name without the words that it shares with those beside it."""
    own = (word for word in row.words[_SUBJECT:] if word not in shared)
    return ", ".join((*row.words[:_SUBJECT], *own))


def percent_text(percent: float) -> str:
    """Return a percentage without sign, as fine as it is worth: `0`, `0.014 %`, `1.99 %`, `12.3 %`."""
    if not percent:
        return f"0{NARROW_SPACE}%"
    digits = 3 if percent < 0.1 else 2 if percent < 10 else 1
    return f"{percent:.{digits}f}{NARROW_SPACE}%"
