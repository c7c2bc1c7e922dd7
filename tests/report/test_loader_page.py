"""The page of data loading: self-contained, and every way of loading on it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from loader_made import PYAV, SMALL, make_result, make_row

from actprof.errors import StoreError
from actprof.measurement import Spread
from actprof.report.loader_page import change_tiles, render_loading, table_rates
from actprof.report.page import write_page


@pytest.fixture(scope="module")
def text():
    return render_loading(make_result(), step_seconds=0.47, step_batch_size=32)


def test_nothing_is_loaded_from_elsewhere(text):
    """The page asks for no other file, and forbids itself to."""
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!#)""", own)
    assert "default-src 'none'" in own


def test_texts_are_escaped(text):
    """A note cannot become markup."""
    assert "&lt;b&gt;it&lt;/b&gt;" in text
    assert "<b>it</b>" not in text


def test_every_way_of_loading_has_its_row(text):
    """Also the one that was refused, with the reason."""
    for source in make_result().sources:
        assert f'<td class="way">{source}' in text
    assert "not measured: torchcodec finds no FFmpeg libraries" in text


def test_the_changes_are_ratios(text):
    """Faster or slower, each in words."""
    values = re.findall(r'<p class="value">(.*?)</p>', text)
    assert ["4.0 times faster", "120 times slower", "1.1 times slower"] == values


def test_every_ratio_is_of_two_numbers_of_the_table():
    """A reader who divides them finds what the tile says, also where batches differ much in length."""
    slow = replace(make_row(SMALL, 0.0125), batch_seconds=Spread(low=0.02, median=0.1, high=1.0))
    result = make_result(rows=(make_row(PYAV, 0.05), slow))
    (tile,) = change_tiles(result)
    shown = [row.entries[2] for row in table_rates(result, of_processor=True).rows]
    assert ("4.0 times faster", ["20", "80"]) == (tile.value, shown)
    assert tile.notes[0].endswith("20 to 80 samples/s, without workers")


def test_a_dash_is_explained_where_there_is_one(text):
    """With the reason, where something could not be measured."""
    assert "Where there is a \u2013, it was not measured: left out to save time, or could not be" in text
    assert "it was not measured" not in render_loading(make_result(rows=(make_row(PYAV),)))


def test_a_bar_that_would_hide_the_others_is_named_instead(text, packed):
    """Stored images take 120 times as long; they are in the table."""
    figures = packed(text)
    assert {"stages", "workers"} == set(figures)
    assert 4 == len(figures["stages"]["layout"]["annotations"])
    assert "Too slow to be drawn beside the others: images 640x480." in text


def test_advice_is_for_a_step(text):
    """Without one there is none."""
    assert "What keeps a step fed" in text
    assert "too slow" in text
    assert "What keeps a step fed" not in render_loading(make_result())


def test_a_result_without_figures_is_a_page():
    """Nothing measured, nothing drawn."""
    page = render_loading(make_result(rows=()))
    assert "nothing could be measured" in page
    assert 'class="plot"' not in page


def test_the_page_is_written_whole_or_not_at_all(tmp_path):
    """A folder that cannot be made is named."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", render_loading(make_result()))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_the_page_works_in_a_browser(open_file, tmp_path, width, scheme):
    """Figures are drawn, nothing complains, and the page is no wider than the window."""
    path = write_page(tmp_path / "page.html", render_loading(make_result(), step_seconds=0.47))
    page = open_file(path, width=width, scheme=scheme)
    assert 2 == page.locator(".js-plotly-plot").count()
    assert width == page.evaluate("document.documentElement.scrollWidth")
