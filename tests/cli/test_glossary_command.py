"""`actprof glossary`: every term at the width of a terminal, one by name, JSON."""

from __future__ import annotations

import json

import pytest

from actprof.glossary import GLOSSARY


@pytest.mark.parametrize("columns", [80, 120])
def test_all_terms_fit_the_terminal(run, monkeypatch, columns):
    """No line is longer, no term is missing."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("glossary").out

    assert max(map(len, shown.splitlines())) <= columns
    assert all(term.split()[0] in shown for term in GLOSSARY)


def test_one_term_may_be_several_words(run):
    """With or without quotes."""
    assert run("glossary", "gpu", "busy").out == run("glossary", "gpu busy").out
    assert "GPU busy" in run("glossary", "gpu", "busy").out


def test_json_is_the_mapping(run):
    """Terms to sentences."""
    assert GLOSSARY == json.loads(run("glossary", "--json").out)


def test_an_unknown_term_is_a_usage_error(run):
    """With the nearest one."""
    shown = run("glossary", "headrom")
    assert (2, "") == (shown.code, shown.out)
    assert "did you mean headroom?" in shown.err
