"""The rows of the page's tables."""

from actprof.report.arrange import arrange
from actprof.report.parts import NOTHING
from actprof.report.sweep_tables import table_cells, table_components, table_groundings, table_tokens
from actprof.results import ComponentSize
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
    """Step, phase, module, op, bytes, PyTorch's words, and the command for this run alone."""
    (row,) = table_cells(arrange([make_result(verdict="oom")])).rows
    details, texts = dict(row.facts), dict(row.texts)
    assert "model.encoder.layers.3" == details["Module"]
    assert "470.00 MiB, which takes 472.00 MiB" == details["Asked for"]
    assert "CUDA out of memory. Tried to allocate 472.00 MiB." == texts["PyTorch's message"]
    assert texts["This run alone"].startswith("actprof predict --policy act --set chunk_size=50")


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


def test_a_column_of_tokens_is_there_only_where_a_policy_reads_some(make_result):
    """Diffusion's ResNets pool each image to a few keypoints."""
    without, mixed = (
        table_cells(arrange(results))
        for results in (
            [make_result(policy="diffusion", tokens=0)],
            [make_result(policy="diffusion", tokens=0), make_result()],
        )
    )
    for table, there in ((without, False), (mixed, True)):
        assert there == ("Tokens" in [name for name, _ in table.columns])
        assert {len(table.columns)} == {len(row.entries) for row in table.rows}


def test_tokens_are_called_what_the_policy_calls_them(make_result):
    """SmolVLA's are a prefix of what its expert reads."""
    (setup,) = arrange([make_result(policy="smolvla", tokens=177)])
    assert "Prefix tokens by resolution and number of cameras" == table_tokens(setup).caption


def test_images_of_unlike_sizes_stand_in_one_place(make_result):
    """Each size once, with the number of its cameras; without cameras there are none."""
    unlike = make_result(cameras=3, resolution="640x480,640x480,480x640")
    texts = [row.entries[0].text for row in table_cells(arrange([unlike])).rows]
    texts += [row.entries[0].text for row in table_cells(arrange([make_result(cameras=0)])).rows]
    assert ["640x480 \u00d72, 480x640", "no images"] == texts


def test_parameters_are_counted_by_component_frozen_ones_apart():
    """The last row is the sum; what is not there has no number."""
    frozen = ComponentSize(
        component="vision tower",
        trainable=0,
        trainable_bytes=0,
        frozen=1000,
        frozen_bytes=2000,
        dtypes=("bfloat16",),
    )
    expert = ComponentSize(
        component="action expert",
        trainable=50,
        trainable_bytes=200,
        frozen=0,
        frozen_bytes=0,
        dtypes=("float32",),
    )
    table = table_components((frozen, expert))
    assert [
        ("vision tower", NOTHING, "", "1,000", "1.95 KiB", "bfloat16"),
        ("action expert", "50", "200 bytes", NOTHING, "", "float32"),
        ("all", "50", "200 bytes", "1,000", "1.95 KiB", "bfloat16, float32"),
    ] == [row.entries for row in table.rows]


def test_cpu_runs_are_listed_in_the_order_of_their_columns(grounding):
    """Whatever has the attributes of a grounding."""
    table = table_groundings([grounding])
    (row,) = table.rows
    named = dict(zip([name for name, _ in table.columns], row.entries, strict=True))
    assert ("602", "2 x 50 x 6", "1.25 s") == (named["Tokens"], named["Output shape"], named["Backward"])
