"""`actprof predict` on hand-made traces."""

from __future__ import annotations

import json

import pytest

FIELDS = {
    "schema_version", "source", "cell", "gpu", "parameters", "encoder_tokens", "peak_allocated_bytes",
    "peak_reserved_bytes", "peak_process_bytes", "verdict", "headroom_bytes", "retries", "max_batch_size",
    "oom", "assumptions", "timing",
}  # fmt: skip


def test_json_is_one_object_with_every_field(run, seed):
    """Exactly one JSON object on stdout, nothing on stderr."""
    seed(batch_size=8)
    shown = run("predict", "--set", "chunk_size=7", "--json")
    data = json.loads(shown.out)

    assert (0, "") == (shown.code, shown.err)
    assert set(data) >= FIELDS
    assert "curve" not in data
    assert {"name", "capacity_bytes", "context_bytes", "notes"} == set(data["gpu"])
    assert ("predicted", "fits", None, True) == (
        data["source"], data["verdict"], data["oom"], data["timing"]["trace_cached"],
    )  # fmt: skip


def test_json_of_a_run_that_does_not_fit_names_the_event(run, seed):
    """The exit code stays 0; `oom` has all its fields."""
    seed(batch_size=4000)
    shown = run("predict", "--set", "chunk_size=7", "--batch-size", 4000, "--capacity", "2GiB", "--json")
    data = json.loads(shown.out)

    assert (0, "oom") == (shown.code, data["verdict"])
    assert {
        "step", "phase", "module", "op", "requested_bytes", "segment_bytes", "allocated_bytes",
        "reserved_bytes", "message",
    } == set(data["oom"])  # fmt: skip


@pytest.mark.parametrize("columns", [80, 120])
def test_text_begins_with_the_verdict_and_fits_the_terminal(run, seed, monkeypatch, columns):
    """The verdict comes first; the bars are not wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    seed(batch_size=8)
    lines = run("predict", "--set", "chunk_size=7").out.splitlines()

    assert "It fits. ACT with 2 cameras at 640x480, batch 8, on RTX 3090." == lines[0]
    assert " to spare: --batch_size=" in lines[1]
    assert lines[2].startswith("10,000 samples take ")
    assert max(map(len, lines[:3])) <= columns
    bars = [line for line in lines if "█" in line or "░" in line]
    assert 3 == len(bars)
    assert max(map(len, bars)) <= columns
    assert any(line.startswith("largest batch size") for line in lines)


def test_text_of_a_run_that_does_not_fit_quotes_pytorch(run, seed):
    """What PyTorch will say is quoted, without its advice."""
    seed(batch_size=4000)
    shown = run("predict", "--set", "chunk_size=7", "--batch-size", 4000, "--capacity", "2GiB").out

    assert shown.startswith("It runs out of memory.")
    assert "PyTorch will say: CUDA out of memory. Tried to allocate" in shown
    assert "expandable_segments" not in shown


def test_output_is_plain_where_nobody_looks(run, seed):
    """No escape codes in a pipe."""
    seed()
    assert "\x1b" not in run("predict", "--set", "chunk_size=7").out


def test_values_of_set_are_read_as_what_they_are():
    """Numbers, booleans, null and text; the last of two wins."""
    from actprof.cli.options import parse_overrides

    assert {"a": 5, "b": 0.1, "c": True, "d": None, "e": "resnet34", "f": "x=y"} == parse_overrides(
        ("a=4", "a=5", "b=0.1", "c=True", "d=none", "e=resnet34", "f=x=y")
    )
