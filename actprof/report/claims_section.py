"""The section of claims and expectations: what the scenario expects and what is so, the wrong ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from actprof.claims.judge import Outcome, claims_of
from actprof.report.parts import dotted
from actprof.words import capital, join, plural, spell

_STATES = {True: "held", False: "broken", None: "open"}
_WORDS = {"broken": "not as expected", "open": "cannot be told", "held": "as expected"}
_HEADINGS = {"broken": "Not as expected", "open": "Cannot be told", "held": "As expected"}


def present_expectations(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """Return what the template shows of `outcomes`, or None where there are none.

    Its `groups` are claims by what came of them, as (heading, claims).
    """
    if not outcomes:
        return None
    claims = [_claim(entry) for entry in claims_of(outcomes)]
    groups = [(_HEADINGS[state], [c for c in claims if c["state"] == state]) for state in _HEADINGS]
    said = [claim["words"] for claim in claims]
    return {
        "heading": "Claims and expectations" if any(said) else "Expectations",
        "summary": _summary([claim["state"] for claim in claims], "claim" if all(said) else "expectation"),
        "note": (
            "A figure on its own is as expected when the actual one rounds to it as it is written; "
            "comparisons, ranges and tolerances are exact."
        ),
        "groups": [(heading, some) for heading, some in groups if some],
    }


def _summary(states: Sequence[str], noun: str) -> str:
    total = f"{spell(len(states))} {plural(len(states), noun)}"
    if set(states) == {"held"}:
        return f"All of {total} are as expected." if len(states) > 1 else f"The one {noun} is as expected."
    counts = Counter(states)
    verbs = ((counts[state], "is" if counts[state] == 1 else "are", state) for state in ("held", "broken"))
    parts = [f"{spell(count)} {verb} {_WORDS[state]}" for count, verb, state in verbs if count]
    parts += [f"{spell(counts['open'])} cannot be told"] if counts["open"] else []
    return f"Of {total}, {join(parts)}."


def _claim(outcomes: Sequence[tuple[Outcome, str, str]]) -> dict[str, Any]:
    """Return one entry; its lines have a state in words where they differ in it."""
    first, states = outcomes[0][0], [_STATES[outcome.held] for outcome, _, _ in outcomes]
    state = next(state for state in _HEADINGS if state in states)
    lines = [
        {
            "quantity": quantity,
            "expected": outcome.expected,
            "verb": "is" if outcome.held is not None else "which cannot be told:",
            "actual": outcome.actual,
            "instead": f"{capital(instead)}." if instead else "",
            "state": own,
            "word": _WORDS[own] if len(set(states)) > 1 else "",
        }
        for (outcome, quantity, instead), own in zip(outcomes, states, strict=True)
    ]
    about = dotted(first.source, first.scope)
    return {"state": state, "word": _WORDS[state], "words": first.claim, "lines": lines, "about": about}
