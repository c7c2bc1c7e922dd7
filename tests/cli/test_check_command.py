"""`actprof check`, with a hand-made policy of seven tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from actprof.prediction import many

SCENARIO = "set: {chunk_size: 7}\nsweep:\n  batch_size: [8, 16]\nexpect:\n"
HELD = "  - claim: seven tokens <b>\n    source: notes\n    encoder_tokens: 7\n    verdict: fits\n"
BROKEN = "  - where: {batch_size: 16}\n    peak_allocated: less than 1 MiB\n"


@pytest.fixture
def scenario(seed, tmp_path, monkeypatch):
    """Return a function that writes a scenario which expects this."""
    monkeypatch.chdir(tmp_path)
    seed()

    def write(text):
        file = tmp_path / "small.yaml"
        file.write_text(SCENARIO + text if text else SCENARIO.removesuffix("expect:\n"), encoding="utf-8")
        return file

    return write


def test_what_is_held_ends_with_zero(run, scenario, tmp_path):
    """Claims are printed in their words with both figures; nothing is left behind."""
    done = run("check", scenario(HELD))
    assert (0, "") == (done.code, done.err)
    assert "“seven tokens <b>”  notes" in done.out
    assert "✓ encoder_tokens  expected 7     is 7" in done.out
    assert done.out.endswith("2 expectations: 2 as expected\n")
    assert not (tmp_path / "reports").exists()


def test_something_broken_ends_with_one(run, scenario):
    """The broken line shows what is instead."""
    done = run("check", scenario(HELD + BROKEN))
    assert 1 == done.code
    assert "✗ peak_allocated  expected < 1 MiB  is " in done.out
    assert "3 expectations: 2 as expected, 1 not as expected" in done.out


def test_something_unknown_ends_with_three(run, scenario, monkeypatch):
    """A run that cannot be told is no success."""
    predicted = many.predict_cell

    def unknown(cell, *, catalogue):
        return replace(predicted(cell, catalogue=catalogue), verdict="unknown", reason="who knows")

    monkeypatch.setattr(many, "predict_cell", unknown)
    done = run("check", scenario(HELD))
    assert 3 == done.code
    assert "who knows" in done.out


def test_a_scenario_that_expects_nothing_says_so(run, scenario):
    """It would otherwise pass unseen."""
    done = run("check", scenario(""))
    assert 2 == done.code
    assert "expects nothing; add expect:" in done.err


def test_json_is_one_object(run, scenario):
    """For scripts; the exit code is the same."""
    done = run("check", scenario(HELD + BROKEN), "--json")
    data = json.loads(done.out)
    assert (1, False, "small") == (done.code, data["held"], data["scenario"])
    assert [True, True, False] == [outcome["held"] for outcome in data["outcomes"]]


def test_another_gpu_is_checked_instead(run, scenario):
    """`--gpu` moves what does not name its own."""
    done = run("check", scenario(HELD), "--gpu", "4090", "--json")
    assert {"RTX 4090"} == {
        cell["gpu"] for outcome in json.loads(done.out)["outcomes"] for cell in outcome["cells"]
    }


def test_a_sweep_keeps_the_outcomes_for_its_report(run, scenario, tmp_path):
    """The page has them, also when it is written again from the store; the grid stays what it was."""
    file = scenario(HELD + BROKEN + "  - at: {batch_size: 32}\n    verdict: fits\n")
    assert 0 == run("sweep", file, "--no-cpu-check", "--mode", "predict").code
    folder = tmp_path / "reports" / "small"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Claims and expectations" in page
    assert "seven tokens &lt;b&gt;" in page
    (folder / "report.html").unlink()
    run("report", folder)
    assert page == (folder / "report.html").read_text(encoding="utf-8")
    assert 1 == run("check", file).code
    assert 3 == len((folder / "results.csv").read_text(encoding="utf-8").splitlines())
