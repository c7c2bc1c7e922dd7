"""`actprof replay`: what it prints, as text and as JSON, and how it ends."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

import actprof

DATA = Path(__file__).resolve().parents[1] / "data"
NATIVE, EXPANDABLE = DATA / "native-retry.pickle", DATA / "expandable-oom.pickle"


def test_columns_stand_side_by_side(run, monkeypatch):
    """The recorded run first, then each setting; the numbers below each other."""
    monkeypatch.setenv("COLUMNS", "140")
    outcome = run("replay", NATIVE, "--compare", "", "--compare", "expandable_segments:True")
    lines = [line.rstrip() for line in outcome.out.splitlines()]
    assert 0 == outcome.code
    assert "native-retry.pickle, device 0: 388 events from an empty allocator" in lines[0]
    for name in ("peak allocated", "peak reserved", "inactive splits", "segments obtained", "cache releases"):
        (row,) = [line for line in lines if line.startswith(name)]
        assert 3 == len([cell for cell in row.removeprefix(name).split("  ") if cell])
    assert "retries                           2" in "\n".join(lines)


def test_json_is_one_object(run):
    """`--json` prints what the API returns, and nothing else on stdout."""
    outcome = run("replay", NATIVE, "--capacity", "24GiB", "--alloc-conf", "max_split_size_mb:64", "--json")
    expected = actprof.replay_snapshot(NATIVE, capacity="24GiB", alloc_conf="max_split_size_mb:64").to_json()
    assert expected == json.loads(outcome.out)
    assert ["as recorded", "max_split_size_mb:64 on 24.00 GiB"] == [c["label"] for c in expected["columns"]]


def test_a_run_that_dies_names_the_frame(run):
    """The event, the bytes and the Python line that asked."""
    outcome = run("replay", NATIVE, "--alloc-conf", "", "--capacity", "400MiB")
    assert 0 == outcome.code
    assert "at the start" in outcome.out or "at event" in outcome.out


def test_a_recorded_failure_is_shown(run):
    """The recorded run that ended out of memory says where."""
    column = json.loads(run("replay", EXPANDABLE, "--json").out)["columns"][0]
    assert (410, True) == (column["oom"]["event"], column["oom"]["ended"])
    assert "/home/me/model.py:35 forward" == column["oom"]["frame"]
    assert "at event 410" in run("replay", EXPANDABLE).out


VERIFIED = {
    "allocations": 132,
    "allocations_matching": 132,
    "segment_allocs": 13,
    "segment_allocs_matching": 13,
    "segment_frees": 3,
    "segment_frees_matching": 3,
    "final_state_equal": True,
    "peak_allocated_bytes": {"recorded": 83401216, "simulated": 83401216},
    "peak_reserved_bytes": {"recorded": 113246208, "simulated": 113246208},
    "from_empty": True,
    "first_mismatch": None,
    "ambiguous_start": False,
}


def test_verify_compares_everything(run):
    """`--verify --json` prints the counts, peaks and the final state."""
    outcome = run("replay", NATIVE, "--verify", "--json")
    found = json.loads(outcome.out)
    assert 0 == outcome.code
    assert list(VERIFIED) == list(found)
    assert VERIFIED == found
    assert "The simulation equals the record." in run("replay", EXPANDABLE, "--verify").out


def test_verify_names_the_first_difference(run, tmp_path):
    """A recording whose addresses were changed differs from the simulation, and is not called equal."""
    snapshot = pickle.loads(NATIVE.read_bytes())  # noqa: S301 - a file of this repository
    trace = snapshot["device_traces"][0]
    place = next(index for index, event in enumerate(trace) if index > 40 and event["action"] == "alloc")
    wrong = trace[place]["addr"] + 512
    trace[place]["addr"] = wrong
    path = tmp_path / "changed.pickle"
    path.write_bytes(pickle.dumps(snapshot))
    first = json.loads(run("replay", path, "--verify", "--json").out)["first_mismatch"]
    assert (place, "alloc", wrong) == (first["event"], first["action"], first["address"])
    assert f"first difference: event {place}" in run("replay", path, "--verify").out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--verify", "--capacity", "24GiB"], "leave out --capacity"),
        (["--gpu", "RTX 3090", "--capacity", "24GiB"], "not both"),
        (["--alloc-conf", "expandable_segment:True"], "did you mean expandable_segments"),
        (["--device", "3"], "no events of device 3; --device can be 0"),
        (["--torch-version", "new"], "write it like 2.11"),
        (["--capacity", "much"], "not a size"),
    ],
)
def test_a_wrong_question_exits_with_2(run, arguments, text):
    """The value and the remedy stand on stderr."""
    outcome = run("replay", NATIVE, *arguments)
    assert (2, "") == (outcome.code, outcome.out)
    assert text in outcome.err


def test_a_wrong_file_exits_with_2(run, tmp_path):
    """It says what the file is and how to record a good one."""
    path = tmp_path / "notes.txt"
    path.write_text("hello", encoding="utf-8")
    outcome = run("replay", path)
    assert (2, "") == (outcome.code, outcome.out)
    assert "not a pickle" in outcome.err
    assert "_record_memory_history" in outcome.err.replace("\n", "")


def test_html_is_written(run, tmp_path):
    """`--html` leaves one file and still prints the table."""
    path = tmp_path / "pages" / "replay.html"
    outcome = run("replay", NATIVE, "--compare", "expandable_segments:True", "--html", path)
    assert 0 == outcome.code
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "peak reserved" in outcome.out
