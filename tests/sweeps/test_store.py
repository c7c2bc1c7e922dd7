"""The results store: what was stored is there, whatever happens."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.errors import StoreError
from actprof.hardware import find_gpu
from actprof.measuring.grounding import Grounding
from actprof.prediction.predict import predict_cell
from actprof.sweeps.store import ResultsStore, fingerprint

GROUNDING = Grounding(
    policy="act", cameras=2, resolution="640x480", batch_size=2, encoder_tokens=602, output_shape=(100, 6),
    parameters=5, forward_seconds=1.0, backward_seconds=2.0, update_seconds=3.0,
)  # fmt: skip


def test_results_come_back_in_the_order_that_is_asked_for(tmp_path, seed):
    """Stored in one order, read in another; cells without a result are left out."""
    cells = [seed(batch_size=size) for size in (8, 16, 32)]
    with ResultsStore(tmp_path) as store:
        for cell in cells[:2]:
            store.put_result(predict_cell(cell), "stamp")

        assert [16, 8] == [r.cell.batch_size for r in store.results(reversed(cells))]


def test_a_second_answer_replaces_the_first(tmp_path, seed):
    """One row per cell."""
    result = predict_cell(seed())
    with ResultsStore(tmp_path) as store:
        store.put_result(result, "old")
        store.put_result(replace(result, retries=5), "new")

        assert [5] == [r.retries for r in store.results()]
        assert "new" == store.stamp(result.cell)


def test_groundings_are_kept_once_for_all_batch_sizes(tmp_path):
    """A grounding serves every cell with the same trace."""
    cell = Cell(batch_size=8)
    with ResultsStore(tmp_path) as store:
        store.put_grounding(cell, GROUNDING, "stamp")

        assert (GROUNDING,) == store.groundings([cell, replace(cell, batch_size=64, gpu="T4")])


def test_a_killed_writer_loses_nothing_that_was_stored(tmp_path):
    """`kill -9` in the middle of writing: the file opens, and every finished write is in it."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from actprof.results import GpuUse, Result
        from actprof.cell import Cell
        from actprof.sweeps.store import ResultsStore
        gpu = GpuUse(name="x", capacity_bytes=1, context_bytes=1)
        with ResultsStore(Path(sys.argv[1])) as store:
            for size in range(1, 100000):
                store.put_result(Result(source="predicted", cell=Cell(batch_size=size), gpu=gpu), "s")
                print(size, flush=True)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        said = [writer.stdout.readline() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)

    with ResultsStore(tmp_path, create=False) as store:
        stored = {result.cell.batch_size for result in store.results()}
    assert {int(line) for line in said} <= stored


def test_a_folder_without_a_store_says_what_to_do(tmp_path):
    """`actprof report` of an empty folder names the command that fills it."""
    with pytest.raises(StoreError, match="run `actprof sweep` first"):
        ResultsStore(tmp_path, create=False)


def test_a_damaged_store_is_named(tmp_path):
    """A file that is no database is refused with its path and the remedy."""
    (tmp_path / "results.sqlite").write_text("this is not a database, not even a small one" * 10)

    with pytest.raises(StoreError, match="cannot be used"):
        ResultsStore(tmp_path)


def test_a_locked_or_readonly_store_is_a_store_error(tmp_path, seed):
    """What SQLite complains of reaches the user as one sentence."""
    result = predict_cell(seed())
    with ResultsStore(tmp_path) as store:
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="cannot be used"):
            store.put_result(result, "stamp")


def test_fingerprints_follow_the_figures_of_the_gpu():
    """A changed capacity makes stored answers stale; changed sources do not."""
    gpu = find_gpu("RTX 3090")

    cell, larger = Cell(), replace(gpu, capacity_bytes=gpu.capacity_bytes + 1)
    assert fingerprint(cell, gpu) != fingerprint(cell, larger)
    assert fingerprint(cell, gpu) == fingerprint(cell, replace(gpu, sources={}))


def test_the_file_is_plain_sqlite(tmp_path, seed):
    """Anyone can query it."""
    with ResultsStore(tmp_path) as store:
        store.put_result(predict_cell(seed()), "stamp")
    connection = sqlite3.connect(tmp_path / "results.sqlite")

    assert [("fits",)] == connection.execute("SELECT verdict FROM results").fetchall()
    connection.close()
