"""The page in a real browser, without a network."""

from dataclasses import replace
from itertools import product

import pytest

from actprof.report.page import write_page
from actprof.report.sweep_page import Report, render_report
from actprof.units import GIB

pytestmark = pytest.mark.browser

LABELS_OUTSIDE = """() => [...document.querySelectorAll('.plot')].filter(p => p.offsetParent).flatMap(p => {
    const box = p.getBoundingClientRect();
    return [...p.querySelectorAll('.ytick text, .xtick text')]
      .filter(t => {
        const { left, right } = t.getBoundingClientRect();
        return left < box.left - 1 || right > box.right + 1;
      })
      .map(t => t.textContent);
  })"""


# Left and right of the label that is shown, and of the figure.
LABEL = """plot => {
    const label = plot.querySelector('.hovertext').getBoundingClientRect();
    const { left, right } = plot.getBoundingClientRect();
    return [label.left, label.right, left, right];
  }"""


@pytest.fixture
def open_page(open_file, grid, grounding, tmp_path):
    """Return a function that opens the report of the grid."""
    path = write_page(
        tmp_path / "report.html",
        render_report(Report(name="grid", results=grid, groundings=(grounding,))),
    )
    return lambda **options: open_file(path, **options)


@pytest.fixture
def open_measured(open_file, grid, measure, tmp_path):
    """Return a function that opens a report with real runs: some finish, one runs out, one fails."""
    runs = [measure(r, allocated=i * 2**20, seconds=0.3 + i) for i, r in enumerate(grid)]
    runs[1] = measure(grid[1], verdict="oom")
    runs[2] = measure(grid[2], verdict="error", reason="killed", stderr=("x" * 400, "RuntimeError: no"))
    report = Report(name="measured", results=grid, measured=tuple(runs))
    path = write_page(tmp_path / "measured.html", render_report(report))

    return lambda **options: open_file(path, **options)


def shown_rows(page):
    """Return the texts of the batch column of the rows that are shown."""
    return page.locator("#cells-table tbody:not([hidden]) tr:first-child td:nth-child(4)").all_inner_texts()


def test_every_figure_that_is_shown_is_drawn(open_page):
    """Four heatmaps, the limits, two bar charts and the timeline, each with traces."""
    page = open_page()
    counts = page.evaluate(
        """() => [...document.querySelectorAll('.plot')].filter(p => p.offsetParent)
             .map(p => p.data.length * p.querySelectorAll('svg.main-svg').length)"""
    )
    assert 8 == len(counts)
    assert 0 < min(counts)


def test_labels_of_figures_are_not_cut_off(open_page):
    """Every tick label lies within its figure."""
    page = open_page(width=390, height=844)
    assert [] == page.evaluate(LABELS_OUTSIDE)


@pytest.mark.parametrize("width", [1280, 390])
def test_labels_on_pointing_are_not_cut_off(open_file, grid, tmp_path, width):
    """With all that a run may say: a band, a long reason, a module deep inside."""
    where = "model.vlm_with_expert.lm_expert.layers.12.self_attn.rotary_embedding"
    long = [
        replace(r, reason=f"it runs out in {where}, asking for 708.00 MiB", peak_reserved_band_bytes=(1, GIB))
        for r in grid
    ]
    page = render_report(Report(name="grid", results=tuple(long)))
    shown = open_file(write_page(tmp_path / "long.html", page), width=width, reduced_motion="reduce")
    plot = shown.locator("#heatmaps .plot").first
    plot.scroll_into_view_if_needed()
    box = plot.locator(".nsewdrag").bounding_box()
    for column, row in product(range(3), range(2)):
        x = box["x"] + box["width"] * (column + 0.5) / 3
        shown.mouse.move(x, box["y"] + box["height"] * (row + 0.5) / 2)
        shown.wait_for_timeout(250)
        left, right, first, last = plot.evaluate(LABEL)
        assert first <= left < right <= last, (column, row)


def test_the_table_filters_by_text_and_by_verdict(open_page):
    """Both at once, with the count beside them, and a word when nothing is left."""
    page = open_page()
    page.fill("#filter-text", "640x480 layers.3")
    assert "4 of 24 runs" == page.inner_text("#filter-count")
    page.fill("#filter-text", "224x224")
    page.select_option("#filter-verdict", "oom")
    assert "0 of 24 runs" == page.inner_text("#filter-count")
    assert page.is_visible("#filter-none")


def test_a_header_sorts_by_number_and_then_backwards(open_page):
    """128 comes after 32, and the header says which way."""
    page = open_page()
    button = page.locator("#cells-table thead button", has_text="Batch").first
    button.click()
    assert ["8"] * 8 + ["32"] * 8 + ["128"] * 8 == shown_rows(page)
    button.click()
    assert ["128"] * 8 + ["32"] * 8 + ["8"] * 8 == shown_rows(page)
    assert ["descending"] == page.eval_on_selector_all(
        "#cells-table th[aria-sort]:not([aria-sort=none])", "all => all.map(th => th.ariaSort)"
    )


def test_a_row_unfolds_to_the_message(open_page):
    """By the keyboard too."""
    page = open_page()
    page.select_option("#filter-verdict", "oom")
    button = page.locator("tbody:not([hidden]) .unfold").first
    button.focus()
    page.keyboard.press("Enter")
    assert "true" == button.get_attribute("aria-expanded")
    assert page.locator("text=Tried to allocate 472.00 MiB").first.is_visible()


def test_the_table_saves_what_is_shown_as_csv(open_page):
    """A header and the rows that the filter leaves, with plain minus signs."""
    page = open_page()
    page.select_option("#filter-verdict", "oom")
    with page.expect_download() as download:
        page.click("#csv")
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Resolution,Cameras,Batch,Allocator,Verdict,Process GiB")
    assert 1 + int(page.inner_text("#filter-count").split()[0]) == len(lines)
    assert "\u2212" not in "".join(lines)


def test_the_selects_change_the_timeline(open_page):
    """Another batch size draws another curve and says another sentence."""
    page = open_page()
    peak = "p => Math.max(...p.data[1].y)"
    before = page.eval_on_selector("#timeline-plot", peak), page.inner_text("#timeline-note")
    page.select_option("#axis-batch", label="8")
    after = page.eval_on_selector("#timeline-plot", peak), page.inner_text("#timeline-note")
    assert (65.0, 5.0) == (before[0], after[0])
    assert before[1] != after[1]


def test_the_select_of_cells_changes_the_bars(open_page):
    """The other view is drawn when it is chosen."""
    page = open_page()
    page.select_option("#makeup-view", label="one camera · default allocator")
    shown = page.locator("[data-group=makeup-view]:not([hidden]) .main-svg")
    assert 2 <= shown.count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(open_page, scheme):
    """Nothing is wider than 390 pixels; wide tables scroll in their own box."""
    page = open_page(width=390, height=844, scheme=scheme)
    assert 390 == page.evaluate("document.documentElement.scrollWidth")


def test_figures_follow_the_scheme_of_the_system_and_the_button(open_page):
    """Text in figures has the page's colour, before and after the switch."""
    page = open_page(scheme="dark")
    colours = (
        "[getComputedStyle(document.body).color, document.querySelector('.plot .xtick text').style.fill]"
    )
    dark = page.evaluate(colours)
    page.click("#theme")
    page.wait_for_timeout(300)
    light = page.evaluate(colours)
    assert (dark[0], light[0]) == (dark[1], light[1])
    assert dark != light
    assert "false" == page.get_attribute("#theme", "aria-pressed")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_with_real_runs_is_drawn_and_scrolls_in_one_direction_only(open_measured, width, scheme):
    """Also with the row of the failed run unfolded, whose last lines are long."""
    page = open_measured(width=width, height=844, scheme=scheme)
    failed = page.locator("#measured-table tbody[data-verdict=error]").first
    failed.locator(".unfold").click()
    assert failed.locator("text=RuntimeError: no").is_visible()
    assert width == page.evaluate("document.documentElement.scrollWidth")
    drawn = page.eval_on_selector_all(
        "#measured .plot", "all => all.map(plot => plot.querySelectorAll('.main-svg').length)"
    )
    assert 6 == len(drawn)
    assert 0 < min(drawn)
    assert [] == page.evaluate(LABELS_OUTSIDE)


def test_unfolding_a_real_run_leaves_the_table_of_all_cells_alone(open_measured):
    """Both tables unfold; only the second one filters."""
    page = open_measured()
    page.locator("#measured-table .unfold").first.click()
    assert 1 == page.locator("#measured-table .details:not([hidden])").count()
    assert 0 == page.locator("#cells-table .details:not([hidden])").count()
    page.locator("#cells-table .unfold").first.click()
    assert 1 == page.locator("#cells-table .details:not([hidden])").count()
    page.fill("#filter-text", "no such cell")
    assert 24 == page.locator("#measured-table tbody").count()
    assert page.locator("#measured-table tbody").first.is_visible()
