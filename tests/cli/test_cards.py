"""Several cards in one table, and commands that are about one."""

from __future__ import annotations

import json

import pytest

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
    assert ["H200", "T4", "GTX 1060 6 GB"] == [line.partition("  ")[0] for line in rows]
    assert ["fits", "fits", "oom"] == [line.split("GiB")[1].split()[0] for line in rows]
    assert max(map(len, lines)) <= 80


@pytest.mark.usefixtures("_traced")
def test_a_table_of_cards_is_also_json_and_markdown(run):
    """In the order that was asked, and as a table of GitHub's."""
    cards = ("--gpu", "T4", "--gpu", "h200")
    data = json.loads(run("predict", *CELL, *cards, "--json").out)
    table = run("predict", *CELL, *cards, "--markdown").out.splitlines()

    assert ["T4", "H200"] == [result["gpu"]["name"] for result in data]
    assert table[0].startswith("| GPU | memory | verdict | process | largest batch | 10,000 samples |")
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
