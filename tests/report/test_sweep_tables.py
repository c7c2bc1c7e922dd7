"""The rows of the page's tables."""

from actprof.report.arrange import arrange
from actprof.report.parts import NOTHING
from actprof.report.sweep_tables import table_cells, table_groundings, table_tokens
from actprof.units import GIB


def test_every_row_has_a_field_per_column(grid, make_result):
    """With and without a column for the setup, known and unknown cells."""
    for results in (
        grid,
        (*grid, make_result(gpu="T4"), make_result(gpu="T4", verdict="unknown", cameras=1)),
    ):
        table = table_cells(arrange(results))
        assert len(results) == len(table.rows)
        assert {len(table.columns)} == {len(row.entries) for row in table.rows}


def test_numbers_sort_by_their_value(make_result):
    """Resolutions by pixels, sizes by bytes; what is not known comes first."""
    table = table_cells(arrange([make_result(batch_size=8), make_result(batch_size=16, verdict="unknown")]))
    known, unknown = table.rows
    names = [name for name, _ in table.columns]
    fields = dict(zip(names, known.entries, strict=True))
    assert 640 * 480 == fields["Resolution"].sort
    assert ("10.00", 10 * GIB) == (fields["Process GiB"].text, fields["Process GiB"].sort)
    assert -1 == unknown.entries[-1].sort


def test_a_run_that_runs_out_unfolds_to_its_place_and_message(make_result):
    """Step, phase, module, op, bytes, PyTorch's words, and the command for this cell alone."""
    (row,) = table_cells(arrange([make_result(verdict="oom")])).rows
    details, texts = dict(row.facts), dict(row.texts)
    assert "model.encoder.layers.3" == details["Module"]
    assert "470.00 MiB, which takes 472.00 MiB" == details["Asked for"]
    assert "CUDA out of memory. Tried to allocate 472.00 MiB." == texts["PyTorch's message"]
    assert texts["This cell alone"].startswith("actprof predict --policy act --set chunk_size=50")


def test_tokens_are_listed_by_resolution_and_cameras(grid):
    """The bar beside each number is its share of the largest."""
    (setup,) = arrange(grid)
    first, second = [row.entries for row in table_tokens(setup).rows]
    assert (("302", 0.502), ("602", 1.0)) == tuple((entry.text, entry.bar) for entry in first[1:])
    assert "224x224" == second[0]


def test_a_combination_without_tokens_is_a_gap(make_result):
    """Unknown cells have none, and a table of nothing is empty."""
    (setup,) = arrange([make_result(cameras=1), make_result(cameras=2, verdict="unknown")])
    ((_, one, two),) = [row.entries for row in table_tokens(setup).rows]
    assert (("602", 1.0), NOTHING) == ((one.text, one.bar), two)
    (unknown,) = arrange([make_result(verdict="unknown")])
    assert table_tokens(unknown) is None


def test_cpu_runs_are_listed_in_the_order_of_their_columns(grounding):
    """Whatever has the attributes of a grounding."""
    table = table_groundings([grounding])
    (row,) = table.rows
    named = dict(zip([name for name, _ in table.columns], row.entries, strict=True))
    assert ("602", "2 x 50 x 6", "1.25 s") == (named["Tokens"], named["Output shape"], named["Backward"])
