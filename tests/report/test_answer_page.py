"""The answer about one run as a small page, and pages as pictures."""

from __future__ import annotations

import re
import struct
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

import actprof
from actprof.cli.commands.explain import command as explain
from actprof.cli.commands.report import command as report
from actprof.errors import StoreError, UsageError
from actprof.measurement import Spread
from actprof.report.answer_page import render_answer
from actprof.report.page import write_page
from actprof.report.pictures import take_pictures
from actprof.report.sweep_page import Report, render_report
from actprof.units import GIB

BROKEN_WORDS = """() => [...document.querySelectorAll('.tile :is(h2, .value, li)')].flatMap((element) => {
    const node = element.firstChild, range = document.createRange();
    return [...node.data.matchAll(/\\S+/g)].filter(({ 0: word, index }) => {
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      return new Set([...range.getClientRects()].map((box) => box.top)).size > 1;
    }).map((found) => found[0]);
  })"""
PNG = b"\x89PNG\r\n\x1a\n"


def timed(result, seconds=0.5):
    """Return a result with a step of so many seconds, and half and double that as its band."""
    step = Spread(low=seconds / 2, median=seconds, high=2 * seconds)
    rate = result.cell.batch_size / seconds
    return replace(result, step_seconds=step, samples_per_second=rate, limited_by="bandwidth")


def png_size(path):
    """Return width and height of a PNG file."""
    data = path.read_bytes()
    assert data.startswith(PNG)
    return struct.unpack(">II", data[16:24])


def test_it_says_verdict_advice_time_sizes_and_holders(make_result):
    """In this order, with the batch that runs at most, and what a step takes."""
    text = render_answer(timed(make_result(need=10 * GIB, limit=64, batch_size=8)))
    said = [
        "It fits.", "14.00 GiB to spare", "10,000 samples take", "limited by memory bandwidth",
        "24.00 GiB</b> RTX 3090", "Allocated", "9.00 GiB", "Reserved", "9.50 GiB", "Process", "10.00 GiB",
        "Largest batch size", ">64<", "500 ms", "16.0", "at the peak", "encoder (activations)",
    ]  # fmt: skip
    places = [text.index(words) for words in said]
    assert sorted(places) == places


@pytest.mark.parametrize(
    ("verdict", "said"), [("oom", "It runs out of memory."), ("unknown", "cannot be told")]
)
def test_every_verdict_has_an_answer(make_result, verdict, said):
    """Also one without any number."""
    assert said in render_answer(make_result(verdict=verdict, need=30 * GIB))


def test_a_run_that_cannot_be_told_says_why(make_result):
    """And has no tile without a number."""
    text = render_answer(make_result(verdict="unknown", reason="it is compiled"))
    assert "Why: it is compiled." in text
    assert 'class="tile' not in text


def test_a_run_that_runs_out_says_where_and_what_its_bars_are(make_result):
    """The bars are no card's: nvidia-smi shows none of them. Its speed is conditional."""
    text = render_answer(
        timed(make_result(verdict="oom", need=30 * GIB, reason="it runs out in the encoder"))
    )
    said = [
        "Why: it runs out in the encoder. The op is aten.relu.default.", "what it takes without limit",
        "The bars are what it takes on a device without limit.", "A step would take, if it fitted",
        "Samples/s, if it fitted", "when it runs out",
    ]  # fmt: skip
    places = [text.index(words) for words in said]
    assert sorted(places) == places
    assert "nvidia-smi" not in text


def test_the_band_of_repeated_runs_is_below_the_bars(make_result):
    """Where there is one."""
    text = render_answer(make_result(peak_reserved_band_bytes=(9 * GIB, 11 * GIB)))
    assert "Repeated runs reserve 9.00 GiB to 11.00 GiB" in text
    assert "Repeated runs" not in render_answer(make_result())


def test_a_tight_run_beyond_the_card_is_explained(make_result):
    """What it takes without limit, and why it runs all the same."""
    text = render_answer(make_result(verdict="tight", need=26 * GIB))
    assert "Without limit it would take 26.00 GiB (108% of the card)" in text


def test_it_is_small_and_asks_for_nothing(make_result):
    """One file without scripts, of a few dozen KiB."""
    text = render_answer(make_result())
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["']""", text)
    assert len(text) < 40_000


def test_names_cannot_become_markup(make_result):
    """Of a GPU that a scenario brought along."""
    assert "<b>x" not in render_answer(make_result(gpu="<b>x"))


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_600_pixels_wide_and_fits_a_phone(open_file, make_result, tmp_path, scheme):
    """Nothing sticks out of either."""
    path = write_page(tmp_path / "answer.html", render_answer(timed(make_result(need=30 * GIB))))
    page = open_file(path, scheme=scheme)
    assert 600 == page.locator("#answer").bounding_box()["width"]
    page.set_viewport_size({"width": 390, "height": 800})
    assert 390 == page.evaluate("document.documentElement.scrollWidth")
    assert [] == page.evaluate(BROKEN_WORDS)


@pytest.mark.browser
def test_the_answer_is_a_picture(make_result, tmp_path, chromium, monkeypatch):
    """Of 600 pixels, drawn twice as fine."""
    monkeypatch.setenv("BROWSER_PATH", chromium)
    assert 1200 == png_size(actprof.write_answer_picture(make_result(), tmp_path / "answer.png"))[0]


@pytest.mark.browser
def test_sections_with_figures_are_pictures(grid, tmp_path, chromium, monkeypatch):
    """Named by what they show; one of them alone on request."""
    monkeypatch.setenv("BROWSER_PATH", chromium)
    page = write_page(tmp_path / "report.html", render_report(Report(name="grid", results=grid)))
    names = [path.name for path in actprof.write_pictures(page, tmp_path / "pictures")]
    assert ["answer.png", "heatmaps.png", "limits.png", "makeup.png", "timeline.png"] == names
    assert all(min(png_size(path)) > 400 for path in (tmp_path / "pictures").iterdir())
    assert 100_000 < (tmp_path / "pictures" / "heatmaps.png").stat().st_size  # with the numbers drawn
    with pytest.raises(UsageError, match="no figures in a section 'method'"):
        actprof.write_picture(page, tmp_path / "method.png", part="method")


def test_what_is_missing_is_named(make_result, tmp_path, monkeypatch):
    """The library, the browser, the page."""
    page = actprof.write_answer(make_result(), tmp_path / "answer.html")
    with pytest.raises(StoreError, match="write the page first"):
        take_pictures(tmp_path / "none.html", lambda _name: None)
    monkeypatch.setattr("choreographer.Browser", _no_browser)
    with pytest.raises(UsageError, match="apt install chromium"):
        actprof.write_picture(page, tmp_path / "answer.png")
    monkeypatch.setitem(sys.modules, "choreographer", None)
    with pytest.raises(UsageError, match=r"pip install 'actprof\[png\]'"):
        actprof.write_picture(page, tmp_path / "answer.png")


def _no_browser(**_options):
    from choreographer.errors import ChromeNotFoundError

    raise ChromeNotFoundError("none")


def test_the_commands_write_pictures_beside_what_they_print(tmp_path, monkeypatch, seed):
    """`report --png` all of them, `explain --png` one."""
    seed()
    asked = []
    monkeypatch.setattr("actprof.api.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("actprof.api.write_pictures", lambda page: asked.append(page) or ["a.png"])
    monkeypatch.setattr("actprof.api.write_explanation_picture", lambda _found, path: asked.append(path))
    shown = CliRunner().invoke(report, [str(tmp_path), "--png"])
    assert [f"{tmp_path / 'report.html'}", "a.png"] == shown.output.splitlines()
    shown = CliRunner().invoke(explain, ["--set", "chunk_size=7", "--png", str(tmp_path / "b.png")])
    assert 0 == shown.exit_code, shown.output
    assert [tmp_path / "report.html", tmp_path / "b.png"] == asked
