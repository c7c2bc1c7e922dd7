"""The data of the figures."""

from dataclasses import replace

import pytest

from actprof.report.arrange import arrange
from actprof.report.makeup import (
    OTHER,
    collect_cells,
    colour_parts,
    list_components,
    merge_small,
    split_activations,
    split_by_kind,
)
from actprof.report.sweep_figures import cell_label, describe, draw_heatmap, draw_limits, draw_makeup
from actprof.units import GIB


@pytest.fixture
def setup(grid):
    (setup,) = arrange(grid)
    return setup


def test_a_heatmap_has_batches_across_and_the_largest_image_on_top(setup):
    """One row per resolution, one column per batch size."""
    figure = draw_heatmap(setup, 2, "")
    cells = figure.data[0]
    assert (("8", "32", "128"), ("640x480", "224x224")) == (tuple(cells.x), tuple(cells.y))
    assert "reversed" == figure.layout.yaxis.autorange


def test_cells_that_run_out_say_so_in_text(setup):
    """Colour is not the only mark."""
    texts = draw_heatmap(setup, 2, "").data[1].text
    assert ("5.0", "17.0", "65.0<br><b>OOM</b>", "1.8", "4.2", "13.8") == tuple(texts)


def test_a_cell_that_was_not_run_is_a_gap(make_result):
    """An excluded combination has no colour, no text and no number."""
    (setup,) = arrange([make_result(batch_size=8), make_result(batch_size=16, resolution="224x224")])
    cells, texts = draw_heatmap(setup, 2, "").data
    assert [[False, True], [True, False]] == [[value is None for value in row] for row in cells.z]
    assert 2 == len(texts.text)


@pytest.mark.parametrize(
    ("verdict", "label"),
    [
        ("fits", "10.0"),
        ("tight", "10.0<br><b>tight</b>"),
        ("oom", "10.0<br><b>OOM</b>"),
        ("unknown", "<b>?</b>"),
        ("error", "10.0<br><b>fail</b>"),
    ],
)
def test_every_verdict_has_its_label(make_result, verdict, label):
    """An unknown cell shows no number."""
    assert label == cell_label(make_result(verdict=verdict))


def test_hovering_tells_all_numbers(make_result):
    """Process, capacity, reserved, allocated, headroom, limit, tokens."""
    text = describe(make_result(used_by_others_bytes=GIB)).replace("<br>", " ")
    for number in (
        "10.00 + 1.00 of others of 24.00 GiB",
        "reserved 9.50",
        "allocated 9.00",
        "14.00",
        "64",
        "602",
    ):
        assert number in text


def test_names_in_figures_are_escaped(make_result):
    """Plotly reads a subset of HTML."""
    text = describe(make_result(reason="<script>alert(1)</script>", alloc_conf="<b>"))
    assert "<script>" not in text
    assert "&lt;b&gt;" in text


def test_limits_have_one_mark_per_setting_and_labels_at_both_ends(setup):
    """The smaller number stands left of its mark, the larger one right."""
    line, default, expandable = draw_limits(setup, ["", "expandable_segments:True"]).data
    assert (92, 46, 460, 230) == tuple(default.x)
    assert (96, 48, 484, 242) == tuple(expandable.x)
    assert {"middle left"} == set(default.textposition)
    assert {"middle right"} == set(expandable.textposition)
    assert (46, 48) in [tuple(line.x[i : i + 2]) for i in range(0, 12, 3)]


def test_equal_limits_are_labelled_once(make_result):
    """Two marks in one place need one number."""
    confs = ["", "expandable_segments:True"]
    (setup,) = arrange([make_result(alloc_conf=conf) for conf in confs])
    texts = [text for trace in draw_limits(setup, confs).data[1:] for text in trace.text]
    assert [" 64 ", ""] == texts


@pytest.mark.parametrize(("limit", "place", "label"), [(0, 0.5, " none "), (4096, 4096, " 4096 or more ")])
def test_limits_without_a_number_have_a_place(make_result, limit, place, label):
    """A logarithmic axis has no zero."""
    (setup,) = arrange([make_result(limit=limit)])
    marks = draw_limits(setup, [""]).data[1]
    assert ((place,), (label,)) == (tuple(marks.x), tuple(marks.text))


def test_an_unknown_limit_has_no_mark(make_result):
    """The row stays, empty."""
    (setup,) = arrange([make_result(limit=None), make_result(limit=None, cameras=1)])
    figure = draw_limits(setup, [""])
    assert () == tuple(figure.data[1].x)
    assert 2 == len(figure.layout.yaxis.ticktext)


def test_bars_are_the_cells_around_the_limit_and_add_up(setup):
    """Every part of every bar is drawn, also when small parts are merged."""
    cells = collect_cells(setup, 2, "")
    bars = merge_small(split_by_kind(cells))
    parts = colour_parts(bars, list_components(cells))
    figure = draw_makeup(bars, parts, room=True)
    drawn = [sum(trace.x[row] for trace in figure.data) for row in range(len(bars))]
    assert [32, 128, 128] == [bar.result.cell.batch_size for bar in bars]
    assert [cell.breakdown.allocated_bytes / GIB for cell in cells] == pytest.approx(drawn, abs=0.001)
    assert {"parameters", "activations: encoder", "activations: backbone"} == {name for name, _ in parts}


def test_activations_add_up_too(setup):
    """By component and group."""
    cells = collect_cells(setup, 1, "")
    for bar, cell in zip(split_activations(cells), cells, strict=True):
        assert cell.breakdown.by_kind["activations"] == bar.total_bytes == sum(bar.parts.values())


def test_small_parts_become_other(make_result):
    """What is small in one bar and large in another keeps its name; the whole stays the same."""
    held = make_result(need=9 * GIB).breakdown
    kinds = [{"crumbs": 1, "sometimes": 1}, {"crumbs": 1, "sometimes": 8 * GIB}]
    cells = [
        make_result(breakdown=replace(held, by_kind={**held.by_kind, **some}), batch_size=i + 1)
        for i, some in enumerate(kinds)
    ]
    before = split_by_kind(cells)
    after = merge_small(before)
    assert [1, 1] == [bar.parts[OTHER] for bar in after]
    assert [1, 8 * GIB] == [bar.parts["sometimes"] for bar in after]
    assert [sum(bar.parts.values()) for bar in before] == [sum(bar.parts.values()) for bar in after]


def test_a_component_has_one_colour_in_both_figures(setup):
    """The first shade of the groups is the colour of the component."""
    cells = collect_cells(setup, 2, "")
    components = list_components(cells)
    kinds = dict(colour_parts(split_by_kind(cells), components))
    groups = dict(colour_parts(split_activations(cells), components))
    assert kinds["activations: backbone"] == groups["backbone: feature maps"]


def test_a_component_has_one_colour_whatever_else_is_drawn(make_result):
    """A run without a decoder has the colours of one with it; a policy that is unknown here has some too."""
    held = make_result(need=9 * GIB).breakdown
    other = replace(
        held, activations={**held.activations, "VAE encoder": {"maps": 1}, "decoder": {"maps": 1}}
    )
    cells = [make_result(breakdown=some) for some in (held, other)]
    colours = [dict(colour_parts(split_activations([c]), list_components([c]))) for c in cells]
    assert colours[0]["encoder: feed-forward"] == colours[1]["encoder: feed-forward"]
    assert ["backbone", "encoder"] == list_components([make_result(policy="theirs", overrides={})])
