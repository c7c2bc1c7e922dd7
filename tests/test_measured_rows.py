"""The script that turns the runs of one machine into rows of the accuracy ledger. Nothing is measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from actprof.ledger.keep import read_rows
from actprof.units import GIB, MIB

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "measured_rows.py"
MACHINE = {
    "name": "NVIDIA H100 80GB HBM3",
    "total": 85_017_493_504,
    "cudnn": 91_900,
    "smi": "name, driver_version, memory.total [MiB]\nNVIDIA H100 80GB HBM3, 580.159.04, 81559 MiB\n",
}
OOM = {
    "step": 3, "phase": "backward", "module": "", "op": "", "requested_bytes": 0, "segment_bytes": 76 * MIB,
    "allocated_bytes": 1, "reserved_bytes": 1,
    "message": "CUDA out of memory. Including non-PyTorch memory, this process has 20.94 GiB memory in use.",
}  # fmt: skip


def run(
    name, *, oom=None, alone=False, cap=None, config="", steps=((GIB, 3 * GIB, 1), (GIB, 2 * GIB, 0)), **cell
):
    """Return one line as it is written where it was measured."""
    known = {"policy": "act", "overrides": {}, "gpu": None if cap is None else "RTX 3090", "batch_size": 8}
    return {
        "name": name, "cell": {**known, **cell}, "alone_on_the_gpu": alone, "error": None, "oom": oom,
        "steps": steps, "cap_bytes": cap, "process_bytes": 3 * GIB, "cublas_workspace_config": config,
        "update_seconds": {"low": 0.1, "median": 0.2, "high": 0.3},
    }  # fmt: skip


@pytest.fixture
def rows_of(tmp_path, monkeypatch):
    """Return the ledger's rows by their names after the script has taken some runs; nothing is predicted."""
    spec = importlib.util.spec_from_file_location("measured_rows", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "refresh", lambda rows, **_listener: tuple(rows))

    def taken(*runs):
        (tmp_path / "machine.json").write_text(json.dumps(MACHINE))
        (tmp_path / "cells.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in runs))
        words = [
            "cells.jsonl",
            "--machine",
            "machine.json",
            "--torch",
            "2.11.0+cu130",
            "--date",
            "2026-11-25",
        ]
        monkeypatch.chdir(tmp_path)
        shown = CliRunner().invoke(module.main, [*words, "--ledger", str(tmp_path)], catch_exceptions=False)
        taken.output = shown.output
        return {row.run: row for row in read_rows(tmp_path)}

    return taken


def test_a_run_is_a_row_with_its_machine(rows_of):
    """The last step is the settled one; the first, in which cuDNN tries its plans, does not count."""
    row = rows_of(run("a"))["a"]

    assert ("NVIDIA H100 80GB HBM3", "H100 80 GB", "measured") == (row.gpu, row.cell.gpu, row.origin)
    assert {"torch": "2.11.0+cu130", "driver": "580.159.04", "cudnn": "9.19.0"} == row.versions
    assert "2026-11-25" == row.date
    figures = row.measured
    assert (GIB, 2 * GIB, 3 * GIB, "ran") == (
        figures.allocated_bytes, figures.reserved_bytes, figures.process_bytes, figures.verdict,
    )  # fmt: skip


def test_only_a_run_alone_on_the_card_has_seconds(rows_of):
    """Others on it slow it down."""
    rows = rows_of(run("alone", alone=True), run("beside"))

    assert (0.2, None) == tuple(rows[name].measured.step_seconds for name in ("alone", "beside"))
    assert "others on the card" in rows["beside"].source


def test_a_run_that_flushed_its_cache_has_no_reserved_bytes(rows_of):
    """Where plans are not tried, the first step's flushes count too."""
    row = rows_of(run("a", cudnn_benchmark=False))["a"]

    assert (GIB, None, None) == (
        row.measured.allocated_bytes, row.measured.reserved_bytes, row.measured.process_bytes,
    )  # fmt: skip


def test_a_card_that_played_another_was_held_to_its_room(rows_of):
    """The row is about the card that ran it, and says so."""
    row = rows_of(run("a", cap=23 * GIB, config=":4096:2:16:8"))["a"]

    assert (23 * GIB, 8_519_680, "H100 80 GB") == (
        row.held_to_bytes, row.cublas_workspace_bytes, row.cell.gpu,
    )  # fmt: skip
    assert row.name.endswith("NVIDIA H100 80GB HBM3 as RTX 3090, limited to 23.00 GiB")
    assert row.command.startswith("actprof measure --policy act")
    assert row.command.endswith("--gpu 'RTX 3090'")


def test_where_the_next_batch_size_ran_out_is_the_largest(rows_of):
    """Of the same settings; not where a repeated run of it ran out, nor where nobody looked further."""
    capped = {"cap": 23 * GIB}
    rows = rows_of(
        run("57", batch_size=57, **capped),
        run("58", batch_size=58, **capped),
        run("59", batch_size=59, oom=OOM, **capped),
        run("other 59", batch_size=59, alloc_conf="expandable_segments:True", **capped),
        run("60", batch_size=60, alloc_conf="expandable_segments:True", oom=OOM, **capped),
        run("again 60", batch_size=60, alloc_conf="expandable_segments:True", **capped),
        run("61", batch_size=61, alloc_conf="expandable_segments:True", oom=OOM, **capped),
    )
    known = {name: row.measured.max_batch_size for name, row in rows.items() if row.measured.max_batch_size}

    assert {"58": 58, "other 59": 59} == known
    assert (76 * MIB, None) == (rows["59"].measured.tried_bytes, rows["59"].measured.allocated_bytes)


def test_what_cannot_be_predicted_is_left_out_with_a_word(rows_of):
    """Policies that are not traced, several processes, runs that failed."""
    rows = rows_of(
        run("other", policy="tomorrow's"),
        run("several") | {"ddp": "plain"},
        run("bad") | {"error": "no driver"},
    )

    assert {} == rows
    assert "other: left out, the policy tomorrow's cannot be traced" in rows_of.output
    assert "several: left out, it ran under DDP" in rows_of.output
    assert "bad: left out, it failed (no driver)" in rows_of.output


def test_runs_are_added_to_what_is_there(rows_of):
    """A run of the same name replaces its row, another stays."""
    rows_of(run("a"), run("b"))
    rows = rows_of(run("a", steps=[(2 * GIB, 2 * GIB, 0)]))

    assert {"a": 2 * GIB, "b": GIB} == {name: row.measured.allocated_bytes for name, row in rows.items()}
