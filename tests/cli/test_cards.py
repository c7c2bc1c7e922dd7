"""Several cards in one table, and commands that are about one."""

from __future__ import annotations

import json
import re

import pytest

from actprof.advice.answer import hours_text
from actprof.units import format_seconds
from actprof.words import rate_text

CELL = ("--set", "chunk_size=7", "--batch-size", 4000)


@pytest.fixture
def _traced(seed):
    seed(batch_size=4000)


@pytest.mark.usefixtures("_traced")
def test_each_card_has_a_row(run, monkeypatch):
    """What fits stands first, with the hours of all steps and its price where one is known."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(
        "predict", *CELL, "--gpu", "GTX 1060 6 GB", "--gpu", "h200", "--gpu", "T4", "--steps", 1000000
    )
    lines = shown.out.splitlines()
    rows = [line for line in lines if line.startswith(("GTX", "H200", "T4"))]

    assert (0, "") == (shown.code, shown.err)
    assert lines[0].startswith("It runs on 2 of 3 cards")
    assert ["H200", "T4", "GTX 1060 6 GB"] == [re.split(" +(?:fits|oom) ", line)[0] for line in rows]
    assert ["fits", "fits", "oom"] == [line.partition("GiB")[0].split()[-2] for line in rows]
    assert max(map(len, lines)) <= 80
    assert "memory" not in shown.out
    monkeypatch.setenv("COLUMNS", "120")
    wide = run("predict", *CELL, "--gpu", "h200", "--gpu", "T4", "--steps", 1000000).out
    assert "memory" in wide
    assert "$ an" in wide


@pytest.mark.usefixtures("_traced")
def test_a_card_has_the_seconds_of_a_step_and_the_samples_a_second(run):
    """Those of its own prediction, and hours of so many steps; nothing where it does not fit."""
    cards = ("--gpu", "h200", "--gpu", "GTX 1060 6 GB")
    result, small = json.loads(run("predict", *CELL, *cards, "--json").out)
    table = run("predict", *CELL, *cards, "--steps", 3600, "--markdown").out.splitlines()
    heads, first, second = ([text.strip() for text in table[row].split("|")] for row in (0, 2, 3))
    at = heads.index("step")

    assert ("fits", "oom") == (result["verdict"], small["verdict"])
    assert "samples/s" == heads[at + 1]
    seconds = result["step_seconds"]["median"]
    assert [format_seconds(seconds), rate_text(4000 / seconds), hours_text(seconds)] == first[at : at + 3]
    assert ["", "", ""] == second[at : at + 3]


@pytest.mark.usefixtures("_traced")
def test_a_table_of_cards_is_also_json_and_markdown(run):
    """In the order that was asked, and as a table of GitHub's."""
    cards = ("--gpu", "T4", "--gpu", "h200")
    data = json.loads(run("predict", *CELL, *cards, "--json").out)
    table = run("predict", *CELL, *cards, "--markdown").out.splitlines()

    assert ["T4", "H200"] == [result["gpu"]["name"] for result in data]
    assert table[0].startswith(
        "| GPU | memory | verdict | process | largest batch | step | samples/s | 10,000"
    )
    assert 4 == len(table)


@pytest.mark.usefixtures("_traced")
def test_all_is_every_card_with_cuda(run, monkeypatch):
    """Here of three."""
    from actprof.hardware import Catalogue, builtin_catalogue

    few = Catalogue(tuple(map(builtin_catalogue().find, ("T4", "H200", "RX 7900 XTX"))))
    monkeypatch.setattr("actprof.api.runs.builtin_catalogue", lambda: few)
    data = json.loads(run("predict", *CELL, "--gpu", "all", "--json").out)

    assert ["T4", "H200"] == [result["gpu"]["name"] for result in data]


@pytest.mark.parametrize("command", ["explain", "suggest", "params", "measure"])
def test_a_card_that_would_be_left_out_is_refused(run, command):
    """A command about one card names both."""
    shown = run(command, "--gpu", "T4", "--gpu", "h200")

    assert (2, True) == (shown.code, "T4 and h200: this command is about one card" in shown.err)


@pytest.mark.usefixtures("_traced")
def test_the_answer_is_also_markdown(run):
    """Its three lines, then a table of the numbers."""
    shown = run("predict", *CELL, "--capacity", "2GiB", "--markdown").out

    assert shown.startswith("**It runs out of memory.** ACT with 2 cameras at 640x480, batch 4000")
    assert "\n\nWhat helps: " in shown
    assert "\n| process | " in shown
