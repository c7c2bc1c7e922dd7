"""The report's section of claims and expectations."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from actprof.cell import Cell
from actprof.claims.judge import Outcome
from actprof.report.claims_section import present_expectations
from actprof.report.sweep_page import Report, render_report

EVIL = "<script>alert(1)</script>"


def section_of(outcomes):
    return SimpleNamespace(**present_expectations(outcomes))


@pytest.fixture
def outcome():
    """An outcome of a claim that holds."""
    return Outcome(
        entry=0, claim="602 tokens", source="notes", quantity="encoder_tokens",
        scope="all 2 cells of the grid",
        expected="602", actual="602", held=True, instead="", cells=(Cell(),),
    )  # fmt: skip


def broken(outcome, entry, **fields):
    return replace(outcome, entry=entry, **{"held": False, "actual": "100", "instead": "it is less"} | fields)


def test_without_expectations_there_is_no_section(grid):
    """Nor a place for it among the contents."""
    assert present_expectations(()) is None
    assert "#expectations" not in render_report(Report(name="x", results=grid))


def test_broken_claims_come_first_and_are_counted(outcome):
    """Held, broken and open, in words."""
    section = section_of(
        (outcome, broken(outcome, 1), replace(outcome, entry=2, held=None), replace(outcome, entry=3))
    )
    assert ["Not as expected", "Cannot be told", "As expected"] == [heading for heading, _ in section.groups]
    assert (
        "Of four claims, two are as expected, one is not as expected and one cannot be told."
        == section.summary
    )
    assert "All of two claims are as expected." == section_of((outcome, replace(outcome, entry=1))).summary
    assert "The one claim is as expected." == section_of((outcome,)).summary


def test_a_claim_with_one_broken_quantity_is_broken(outcome):
    """Each of its lines then says which it is; one explanation of two lines is shown once."""
    pair = (outcome, broken(outcome, 0), broken(outcome, 0, quantity="retries"))
    (_, (claim,)) = section_of(pair).groups[0]
    words = [line["word"] for line in claim["lines"]]
    assert ("broken", ["as expected", "not as expected", "not as expected"]) == (claim["state"], words)
    assert ["", "", "It is less."] == [line["instead"] for line in claim["lines"]]


def test_expectations_without_words_are_no_claims(outcome):
    """A budget is nobody's claim."""
    section = section_of((replace(outcome, claim="", source=""),))
    assert ("Expectations", "The one expectation is as expected.") == (section.heading, section.summary)


def test_words_of_others_are_escaped(grid, outcome):
    """Claims are text."""
    page = render_report(
        Report(name="x", results=grid, outcomes=(broken(outcome, 0, claim=EVIL, instead=EVIL),))
    )
    assert EVIL not in page
    assert '<a href="#expectations">Claims and expectations</a>' in page
