"""Tables of results."""

from __future__ import annotations

from dataclasses import replace

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


def test_cells_of_unlike_policies_stand_in_one_table(seed):
    """A field that others lack stays the whole number or list that it was written as."""
    act, diffusion = (predict_cell(seed()) for _ in range(2))
    overrides = {"down_dims": [16, 32], "horizon": 8}
    other = replace(diffusion.cell, policy="diffusion", overrides=overrides, peft={"r": 4})
    frame = results_frame([act, replace(diffusion, cell=other)])

    assert [7, None] == list(frame["set_chunk_size"])
    assert "[16, 32]" == frame["set_down_dims"][1]
    assert (8, 4) == (frame["set_horizon"][1], frame["peft_r"][1])
    assert 2 == len(list(frame.groupby(["set_down_dims", "peft_r"], dropna=False)))
