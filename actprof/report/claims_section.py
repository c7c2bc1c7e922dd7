"""The section of claims and expectations: what the scenario expects, held or broken, broken ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actprof.claims.judge import Outcome, claims_of
from actprof.report.parts import dotted
from actprof.words import capital, join, plural, spell

_STATES = {True: "held", False: "broken", None: "open"}
_WORDS = {"broken": "broken", "open": "not told", "held": "held"}
_HEADINGS = {"broken": "Broken", "open": "Cannot be told", "held": "Held"}


@dataclass(frozen=True, slots=True)
class QuantityRow:
    """One quantity of a claim; `state` and `word` where the claim's quantities differ in them."""

    quantity: str
    expected: str
    verb: str
    actual: str
    instead: str
    state: str
    word: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry: its state, the words of who says so, its quantities, and what it is about."""

    state: str
    word: str
    words: str
    lines: tuple[QuantityRow, ...]
    about: str


@dataclass(frozen=True, slots=True)
class ExpectationsSection:
    """What the template shows: claims by what came of them, as (heading, claims)."""

    heading: str
    summary: str
    note: str
    groups: tuple[tuple[str, tuple[Claim, ...]], ...]


def present_expectations(outcomes: Sequence[Outcome]) -> ExpectationsSection | None:
    """Return the section of `outcomes`, or None where there are none."""
    if not outcomes:
        return None
    claims = [_claim(entry) for entry in claims_of(outcomes)]
    groups = [
        (heading, tuple(claim for claim in claims if claim.state == state))
        for state, heading in _HEADINGS.items()
    ]
    said = any(claim.words for claim in claims)
    return ExpectationsSection(
        heading="Claims and expectations" if said else "Expectations",
        summary=_summary(claims, "claim" if all(claim.words for claim in claims) else "expectation"),
        note=(
            "A figure on its own is held when the actual one rounds to it as it is written; "
            "comparisons, ranges and tolerances are exact."
        ),
        groups=tuple((heading, some) for heading, some in groups if some),
    )


def _summary(claims: Sequence[Claim], noun: str) -> str:
    counts = {state: sum(claim.state == state for claim in claims) for state in _HEADINGS}
    total = f"{spell(len(claims))} {plural(len(claims), noun)}"
    if counts["held"] == len(claims):
        return f"All of {total} hold." if len(claims) > 1 else f"The one {noun} holds."
    verbs = {
        "held": ("holds", "hold"), "broken": ("is broken", "are broken"), "open": ("cannot be told",) * 2,
    }  # fmt: skip
    found = [(counts[state], *verbs[state]) for state in verbs if counts[state]]
    parts = [f"{spell(count)} {one if count == 1 else many}" for count, one, many in found]
    return f"Of {total}, {join(parts)}."


def _claim(outcomes: Sequence[tuple[Outcome, str, str]]) -> Claim:
    first, states = outcomes[0][0], [_STATES[outcome.held] for outcome, _, _ in outcomes]
    state = next(state for state in _HEADINGS if state in states)
    mixed = len(set(states)) > 1
    lines = tuple(
        QuantityRow(
            quantity=quantity,
            expected=outcome.expected,
            verb="is" if outcome.held is not None else "which cannot be told:",
            actual=outcome.actual,
            instead=f"{capital(instead)}." if instead else "",
            state=own,
            word=_WORDS[own] if mixed else "",
        )
        for (outcome, quantity, instead), own in zip(outcomes, states, strict=True)
    )
    about = dotted(first.source, first.scope)
    return Claim(state=state, word=_WORDS[state], words=first.claim, lines=lines, about=about)
