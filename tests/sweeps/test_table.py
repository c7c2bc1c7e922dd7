"""Tables of results."""

from __future__ import annotations

import pandas as pd

from actprof.prediction.predict import predict_cell
from actprof.sweeps.table import results_frame, write_csv
from actprof.units import GIB


def test_a_row_has_the_cell_the_numbers_and_where_it_ran_out(seed):
    """One row per result; the config's fields become columns of their own."""
    cells = [seed(batch_size=size, gpu=None, capacity_bytes=2 * GIB) for size in (8, 4000)]
    frame = results_frame(predict_cell(cell) for cell in cells)

    assert ["fits", "oom"] == list(frame["verdict"])
    assert [7, 7] == list(frame["set_chunk_size"])
    assert pd.isna(frame["oom_phase"][0])
    assert "forward" == frame["oom_phase"][1]


def test_the_csv_reads_back(seed, tmp_path):
    """What pandas writes, pandas reads."""
    frame = results_frame([predict_cell(seed())])
    write_csv(frame, tmp_path / "results.csv")

    assert list(frame.columns) == list(pd.read_csv(tmp_path / "results.csv").columns)


def test_no_results_make_an_empty_table():
    """Nothing in, nothing out."""
    assert 0 == len(results_frame([]))
