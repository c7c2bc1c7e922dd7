"""`actprof explain`: what it prints, as text and as JSON, and how it ends."""

from __future__ import annotations

import json
import re

import pytest

import actprof
from actprof.cli.commands.explain import options_on_top
from actprof.errors import UsageError

CELL = ("explain", "--set", "chunk_size=7")
SMALL = ("--batch-size", 4000, "--capacity", "2GiB")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("options", [(), SMALL], ids=["fits", "runs out"])
def test_text_begins_with_who_holds_the_most(run, seed, monkeypatch, columns, options):
    """A sentence, then kinds, modules, ops and tensors; no table is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    seed()
    shown = run(*CELL, *options)
    lines = shown.out.splitlines()
    assert (0, "") == (shown.code, shown.err)
    said = r"[A-Z].* holds? \d+\u00a0% of the .* allocated (at the peak|where it runs out)"
    assert re.search(said, " ".join(lines[1:5]))
    titles = [line for line in lines if re.match(r"By |The largest", line)]
    assert ["By kind", "By module", "The largest tensors"] == [title.partition(" (")[0] for title in titles]
    memory, _, step = shown.out.partition("Where the step goes")
    assert len(memory.splitlines()) + 3 <= 40
    assert len(step.splitlines()) - 3 <= 14
    assert ("limited by " in step) == (not options)  # nothing is known of the speed of 2 GiB
    assert max(map(len, [*step.splitlines()[:12], ""])) <= columns
    assert max(len(line.rstrip()) for line in lines if "█" in line) <= columns
    assert any("per sample" in line for line in lines) == (columns == 120)
    assert any(line.startswith("= process") for line in lines)
    assert any("What helps: " in line for line in lines) == bool(options)
    more = run("explain", "--full", *options, *CELL[1:]).out
    assert "\nBy op" in more
    assert ("On a device without limit" in more) == bool(options)


def test_a_long_line_is_folded_not_cut(run, small_cell, monkeypatch):
    """The line that frees a tensor is all there on a narrow terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    settings = [word for name, value in small_cell.overrides.items() for word in ("--set", f"{name}={value}")]
    outcome = run("explain", *settings, "--resolution", "64x64", "--batch-size", 64, "--tensors", 2)
    text = " ".join(outcome.out.split())
    assert re.search(r"freed: \S+ in \w+, .*lerobot/\S+:\d+ \w+", text)


def test_the_depth_and_the_tensors_can_be_chosen(run, seed):
    """One level of modules; no tensors at all."""
    seed(batch_size=8)
    shown = run(*CELL, "--depth", 1, "--tensors", 0).out
    assert "largest tensors" not in shown
    table = shown.partition("By module")[2].partition("By op")[0]
    assert not re.search(r"^  \w", table, re.MULTILINE)


def test_json_is_one_object(run, seed):
    """What the API returns, with as many tensors as asked for."""
    seed()
    shown = json.loads(run(*CELL, "--tensors", 2, "--json").out)
    expected = actprof.explain(overrides={"chunk_size": 7}).to_json(tensors=2)
    expected["result"]["timing"] = shown["result"]["timing"]
    assert expected == shown


def test_a_difference_is_shown_and_is_in_the_json(run, seed):
    """The second cell has the first's options, with those of `--versus` on top."""
    seed()
    text = run(*CELL, "--batch-size", 64, "--versus", "--batch-size 8").out
    assert "Difference With batch size 8 it needs" in text
    assert "less than with batch size 64" in text
    assert 2 == len(re.findall(r"^Difference by (?:kind|module)", text, re.MULTILINE))
    assert len(text.splitlines()) <= 40
    more = run(*CELL, "--batch-size", 64, "--versus", "--batch-size 8", "--full").out
    assert 3 == len(re.findall(r"^Difference by (?:kind|module|op)", more, re.MULTILINE))
    data = json.loads(run(*CELL, "--batch-size", 64, "--versus", "--batch-size 8", "--json").out)
    assert {"schema_version", "result", "moments", "versus", "difference"} == set(data)
    assert (64, 8) == tuple(d["result"]["cell"]["batch_size"] for d in (data, data["versus"]))
    assert {"chunk_size": 7} == data["versus"]["result"]["cell"]["overrides"]


def test_equal_cells_do_not_differ(run, seed):
    """Nothing is listed, and nothing fails."""
    seed()
    assert "it needs 0 bytes less" in run(*CELL, "--versus", "--batch-size 8").out


def test_fields_of_the_config_are_merged():
    """`--set` adds to what is set, and what is not named stays."""
    first = {"batch_size": 64, "resolution": "640x480", "overrides": {"chunk_size": 50, "n_heads": 8}}
    second = options_on_top(first, "--set chunk_size=20 --resolution 224x224")
    assert {
        "batch_size": 64, "resolution": "224x224", "overrides": {"chunk_size": 20, "n_heads": 8},
    } == second  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["--resolutoin 224x224", "224x224", "--batch-size many", "--set chunk", "'open", "", "--json"],
)
def test_nonsense_is_a_usage_error(run, seed, text):
    """The exit code is 2, and the message quotes what was given."""
    with pytest.raises(UsageError, match="--versus"):
        options_on_top({"overrides": {}}, text)
    shown = run(*CELL, "--versus", text)
    assert (2, "") == (shown.code, shown.out)
    assert repr(text) in shown.err


def test_a_page_is_written_on_request(run, seed, tmp_path):
    """And named on stderr, where it is in nobody's way."""
    seed()
    page = tmp_path / "page.html"
    shown = run(*CELL, "--html", page, "--versus", "--batch-size 64")
    assert "wrote" in shown.err
    assert 'id="difference"' in page.read_text(encoding="utf-8")
