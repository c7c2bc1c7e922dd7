"""The shell under all pages: small, and with a chart library that draws what our figures are made of."""

from __future__ import annotations

import base64
import gzip
import re
from itertools import product
from pathlib import Path
from random import Random

import plotly.graph_objects as go
import pytest

import actprof.report
from actprof.report.page import Plots, write_page
from actprof.report.sweep_page import Report, render_report
from actprof.results import MemoryCurve

ROOM = Path(actprof.report.__file__).parent
LIBRARY = gzip.decompress((ROOM / "vendor" / "plotly.js.gz").read_bytes()).decode()


def test_the_library_says_what_it_is():
    """Name, version, its kinds of traces, and the licence, whose text stands beside it."""
    found = re.match(r"/\* plotly\.js v\d+\.\d+\.\d+ \(scatter(, \w+)+\)\. MIT licence", LIBRARY)
    assert found
    assert "MIT License" in (ROOM / "vendor" / "LICENSE").read_text(encoding="utf-8")


def test_the_library_has_every_kind_of_trace_that_we_draw():
    """A figure of another kind would stay empty."""
    drawn = set()
    for path in ROOM.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        drawn |= {name.lower() for name in re.findall(r"\bgo\.([A-Z]\w+)\(", text)} - {"figure"}
        drawn |= set(re.findall(r"\.add_(scatter|bar|heatmap|icicle|box|histogram|pie)\(", text))
    known = set(re.search(r"\((.*?)\)", LIBRARY)[1].split(", "))
    assert drawn <= known
    assert {"scatter", "bar", "heatmap"} <= drawn


def test_pages_hold_the_library_as_it_is_shipped(grid):
    """Once, and not at all where there is nothing to draw."""
    page = render_report(Report(name="grid", results=grid))
    assert LIBRARY == gzip.decompress(base64.b64decode(re.search(r'id="library">(.*?)<', page)[1])).decode()
    assert 'id="library"' not in render_report(Report(name="nothing"))


def test_a_page_of_many_runs_stays_small(make_result):
    """A thousand runs with a timeline of four hundred points each, in less than two megabytes."""
    random = Random(14)  # noqa: S311 - the same page every time
    results = []
    for batch, cameras in product(range(1, 251), (1, 2, 3, 4)):
        sizes = tuple(random.randrange(batch * 2**26, batch * 2**27) for _ in range(400))
        curve = MemoryCurve(allocated_bytes=sizes, reserved_bytes=sizes, phases=((0, "forward"),), steps=(0,))
        own = {"batch_size": batch, "cameras": cameras, "verdict": "oom" if batch % 2 else "fits"}
        results.append(make_result(need=max(sizes), curve=curve, **own))
    assert len(render_report(Report(name="many", results=tuple(results)))) < 2_000_000


@pytest.mark.browser
def test_rows_of_a_long_table_unfold_and_are_found_by_what_is_in_them(open_file, make_result, tmp_path):
    """What they unfold to is packed, and there as soon as the figures are."""
    results = tuple(make_result(batch_size=n, reason=f"reason-{n}-end") for n in range(1, 401))
    text = render_report(Report(name="many", results=results))
    assert "reason-77-end" not in text
    page = open_file(write_page(tmp_path / "page.html", text))
    page.fill("#filter-text", "reason-77-end")
    assert "1 of 400 runs" == page.inner_text("#filter-count")
    page.locator("tbody:not([hidden]) .unfold").click()
    assert page.locator("text=reason-77-end").is_visible()


@pytest.mark.browser
def test_text_is_painted_before_figures_are_drawn(open_file, grid, tmp_path):
    """The browser's own mark of the first paint comes before the library is there."""
    page = open_file(write_page(tmp_path / "page.html", render_report(Report(name="grid", results=grid))))
    painted = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    assert page.evaluate(f"{painted} < performance.getEntriesByName('library')[0].startTime")


def test_figures_are_numbered_unless_they_are_named():
    """The id in the page."""
    figures = Plots()
    assert "figure-0" == figures.add(go.Figure(), "", "").figure
    assert "own" == figures.add(go.Figure(), "", "", "own").figure


def test_the_flags_of_a_command_are_not_broken(grid):
    """At their hyphens; what else stands in it is escaped."""
    page = render_report(Report(name="grid", results=grid, command="actprof predict --batch-size 8 <x>--y"))
    assert '<pre>actprof predict <span class="flag">--batch-size</span> 8 &lt;x&gt;--y</pre>' in page
