"""The page of the accuracy ledger: self-contained, honest about few rows, and in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.errors import StoreError
from actprof.ledger.accuracy import summarise
from actprof.ledger.comparison import Figures
from actprof.ledger.row import AccuracyRow
from actprof.report.accuracy_figures import bar_width, count_bars, devices_of, draw_errors, draw_scatter
from actprof.report.accuracy_page import render_accuracy
from actprof.report.accuracy_words import lead, more, percent_text, shared_words, short_name
from actprof.report.page import write_page
from actprof.units import GIB, MIB


def make_row(batch_size=8, *, off=0.0, said="fits", was="fits", origin="measured", gpu="RTX 3090", **fields):
    """Return a row of `batch_size` GiB allocated, of which the prediction is `off` percent off."""
    size = batch_size * GIB
    predicted = Figures(
        allocated_bytes=round(size * (1 + off / 100)),
        reserved_bytes=size + GIB,
        max_batch_size=57,
        verdict=said,
    )
    measured = Figures(allocated_bytes=size, reserved_bytes=size + GIB, max_batch_size=57, verdict=was)
    row = AccuracyRow(
        cell=Cell(batch_size=batch_size), origin=origin, gpu=gpu, predicted=predicted, measured=measured,
        source="a log", command="measure it", versions={"torch": "2.11.0"}, date="2026-01-02",
    )  # fmt: skip
    return replace(row, **fields)


@pytest.fixture(scope="module")
def found():
    """Twelve rows of two devices, one of which was said to fit and ran out, one published and rounded."""
    rows = [
        make_row(size, off=size / 100, gpu=gpu) for size in (2, 4, 8, 16, 32) for gpu in ("A", "<b>B</b>")
    ]
    wrong = make_row(64, was="oom", measured=Figures(verdict="oom", tried_bytes=76 * MIB))
    rounded = make_row(
        8, origin="published", gpu="C", resolution_bytes={"allocated": 5 * MIB}, notes="a workspace"
    )
    return summarise([*rows, wrong, rounded])


@pytest.fixture(scope="module")
def text(found):
    return render_accuracy(found)


def test_nothing_is_loaded_from_elsewhere(text):
    """The page asks for no other file, and forbids itself to."""
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!#)""", own)
    assert "default-src 'none'" in own


def test_names_are_escaped(text):
    """The name of a device cannot become markup, in the table or in a figure."""
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "&lt;b&gt;B&lt;/b&gt;" in own
    assert "<b>B</b>" not in text


def test_every_row_has_its_figures_source_and_commands(text, found):
    """One body per row, with what unfolds."""
    assert len(found.rows) == text.count('class="unfold"') == text.count('<table class="plain">')
    assert "measure it" in text
    assert "actprof predict --policy act --cameras 2" in text
    assert "8.00 GiB ± 5.00 MiB" in text
    assert "a workspace" in text


def test_a_step_has_a_tile_and_a_column_where_there_is_one():
    """With seconds in what unfolds."""
    row = make_row(predicted=Figures(step_seconds=0.44), measured=Figures(step_seconds=0.47))
    page = render_accuracy(summarise([row]))
    assert '<th scope="col" class="n">Step</th>' in page
    assert "\u22126.4\u202f%" in page
    assert "<td>440 ms</td><td>470 ms</td>" in page
    assert '<th scope="col" class="n">Step</th>' not in render_accuracy(summarise([make_row()]))


def test_the_mistake_that_must_not_happen_is_said_first(text, found):
    """In the lead, as an alarm, and in its row, which is the first."""
    assert "One run that was said to get through ran out of memory." in lead(found)
    assert "Said to run, and ran out of memory: ACT, 2 cameras 640x480, batch 64, RTX 3090." in text
    assert text.index("batch 64") < text.index("batch 32")
    assert 64 == found.rows[0].cell.batch_size


def test_the_lead_tells_as_much_as_there_is():
    """Nothing, a few rows, a median."""
    assert "No run has been compared with its prediction yet." == lead(summarise([]))
    assert lead(summarise([make_row(off=1.0)])).startswith(
        "In one run, predicted allocated memory is within 1.00\u202f% of what was measured. One of one ran"
    )
    three = summarise([make_row(size, off=off) for size, off in ((8, 0.01), (16, 0.02), (32, 1.0))])
    assert lead(three).startswith(
        "Over three runs, predicted allocated memory is 0.020\u202f% off in the median, "
        "and 1.00\u202f% at worst. Reserved memory, which decides whether a run fits, is "
    )
    verdict = make_row(predicted=Figures(verdict="oom"), measured=Figures(verdict="ran"))
    assert (
        "Allocated memory has not been compared with a real run yet. "
        "No run that was said to get through ran out; one said to run out ran."
    ) == lead(summarise([verdict]))


def test_kinds_and_repeated_runs_are_told_apart():
    """What is exact, what the band held, and how far apart the same command came out."""
    bands = {"reserved_band_bytes": (9 * GIB, 10 * GIB), "surely_fits_batch_size": 50}
    rows = [
        replace(row, predicted=replace(row.predicted, **bands)) for row in (make_row(), make_row(run="2"))
    ]
    cell = Cell(batch_size=8, alloc_conf="expandable_segments:True", cudnn_benchmark=False)
    found = summarise([*rows, make_row(off=1.0, cell=cell)])
    page = render_accuracy(found)

    assert (
        "With expandable segments allocated memory is exact to the byte in 0 of 1 runs. Reserved memory is "
        "within the predicted band in 2 of 2 runs, and in deterministic runs 0\u202f% off at worst. "
        "The largest batch size is exact in 3 of 3 searches."
    ) == more(found)
    assert "<td>Expandable, deterministic</td>" in page
    assert '<td class="n">2 of 2</td>' in page
    assert '<td class="n">9.000 to 9.000</td><td class="n">9.000 to 10.000</td>' in page
    assert "9.000 GiB to 10.000 GiB" in page
    assert "largest that surely fits" in page


def test_a_card_that_played_another_is_predicted_by_the_ledger():
    """No command of one cell holds it to that room."""
    page = render_accuracy(summarise([make_row(held_to_bytes=GIB)]))

    assert "<pre>actprof accuracy --refresh</pre>" in page
    assert "<pre>actprof predict" not in page


def test_a_sure_batch_size_that_ran_out_is_an_alarm():
    """It was promised whatever plans are taken."""
    said = Figures(verdict="oom", surely_fits_batch_size=8)
    page = render_accuracy(summarise([make_row(predicted=said, measured=Figures(verdict="oom"))]))

    assert "Said to surely fit, and ran out of memory: ACT, 2 cameras 640x480, batch 8, RTX 3090." in page


def test_what_rows_have_in_common_is_said_once():
    """But for policy, cameras and batch size; of a single row nothing is common."""
    cells = [Cell(batch_size=size, overrides={"chunk_size": 50}) for size in (8, 16)]
    rows = [make_row(cell=cells[0]), make_row(cell=cells[1], gpu="B")]

    assert ("chunk_size=50",) == shared_words(rows)
    assert "ACT, 2 cameras 640x480, batch 16, B" == short_name(rows[1], shared_words(rows))
    assert () == shared_words(rows[:1])


def test_an_empty_ledger_says_how_to_begin():
    """No figure, no table, no tile."""
    page = render_accuracy(summarise([]))
    own = re.sub(r"<style>.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)
    assert "actprof accuracy --add" in own
    assert not re.search(r"data-figure|<table|tiles", own)


def test_a_ledger_without_own_measurements_says_so():
    """Published rows are not ours."""
    words = "No row was measured by actprof itself"
    assert words in render_accuracy(summarise([make_row(origin="published")]))
    assert words not in render_accuracy(summarise([make_row()]))


def test_verdicts_alone_have_no_figures(packed):
    """A row without a number to compare is in the table only."""
    page = render_accuracy(summarise([make_row(measured=Figures(verdict="ran"))]))
    assert {} == packed(page)
    assert 'data-figure="' not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_marks_are_coloured_by_device_and_lie_where_they_should(found):
    """One trace per device and number beside the diagonal; the legend has the same colours."""
    data = draw_scatter(found.rows)["data"]
    colours = {trace["marker"]["color"] for trace in data if trace["mode"] == "markers"}

    assert ["lines", *["markers"] * 6] == [trace["mode"] for trace in data]
    assert set(devices_of(found.rows).values()) == colours
    assert [8.0, 9.0] == [trace["x"][0] for trace in data if trace["name"].startswith("C")]


def test_axes_are_logarithmic_when_sizes_span_a_decade(found):
    """From 2 to 33 GiB they do, from 8 to 17 not."""
    assert "log" == draw_scatter(found.rows)["layout"]["xaxis"]["type"]
    near = draw_scatter([make_row(8), make_row(16)])
    assert near["layout"]["xaxis"]["type"] is None


def test_every_difference_is_in_one_bar(found):
    """The bars' heights add up to the rows that have the number."""
    bars = {trace["name"]: sum(trace["y"]) for trace in draw_errors(found.rows)["data"]}

    assert {"allocated": found.allocated.n, "reserved": found.reserved.n} == bars


def test_the_middle_bar_is_centred_on_no_difference():
    """Half a bar to either side."""
    assert {-1: 1, 0: 3, 2: 1} == count_bars([-0.15, -0.04, 0.0, 0.04, 0.2], 0.1)
    assert (0.01, 0.2, 50.0) == (bar_width([]), bar_width([-2.0, 1.0]), bar_width([900.0]))


@pytest.mark.parametrize(
    ("percent", "shown"), [(0.0142, "0.014"), (0.1045, "0.10"), (1.989, "1.99"), (12.34, "12.3")]
)
def test_percentages_are_as_fine_as_they_are_worth(percent, shown):
    """Three decimals only below a tenth."""
    assert f"{shown}\u202f%" == percent_text(percent)


def test_the_page_is_written_whole_or_not_at_all(found, tmp_path):
    """A folder that cannot be made is named."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", render_accuracy(found))


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_the_page_works_in_a_browser(open_file, found, tmp_path, width, scheme):
    """Figures are drawn, rows unfold, nothing complains, and the page is no wider than the window."""
    page = open_file(write_page(tmp_path / "page.html", render_accuracy(found)), width=width, scheme=scheme)
    assert 2 == page.locator(".plot svg.main-svg:first-child").count()
    button = page.locator(".unfold").first
    button.click()
    assert "true" == button.get_attribute("aria-expanded")
    assert page.locator(".details:visible pre").first.is_visible()
    assert width == page.evaluate("document.documentElement.scrollWidth")
