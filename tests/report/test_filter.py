"""The filter of all runs: words of a column are held to it, any other word is looked for in all texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actprof.report.page import write_page
from actprof.report.sweep_page import Report, render_report
from actprof.scenario.loading import load_scenario

pytestmark = pytest.mark.browser

SCENARIO = Path(__file__).resolve().parents[2] / "scenarios" / "3090.yaml"

MESSAGE = (
    "CUDA out of memory. Tried to allocate 708.00 MiB. If reserved but unallocated memory is large "
    "try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
COUNTS = {
    "": 210,
    "batch 64": 30,
    "batch 8": 30,
    "Batch size 128": 30,
    "batch_size=96": 30,
    "2 cameras": 70,
    "two cameras": 70,
    "one camera": 70,
    "oom": 10,
    "out of memory": 10,
    "fits": 200,
    "tight": 0,
    "expandable": 105,
    "expandable_segments:True": 105,
    "expandable segments": 105,
    "expandable_segments:True oom": 5,
    "default": 105,
    "default allocator": 105,
    "PyTorch's defaults": 105,
    "max_split_size_mb:128": 0,
    "cameras 3": 70,
    "cameras=1": 70,
    "camera 2": 70,
    "2 cam": 70,
    "cameras 4": 0,
    "batch 64 cameras 3": 10,
    "cameras 3 batch 64": 10,
    "(": 0,
    "128 (": 0,
    "fragmentation": 0,
    "addmm": 10,
    "aten.addmm": 10,
    "640x480": 42,
    "640x480 batch 64": 6,
    "batch 64 640x480 2 cameras expandable": 1,
    "oom layers.3": 10,
    "layers.3": 10,
    "batch 64 layers.3": 0,
    "nothing of the kind": 0,
}


@pytest.fixture
def page(open_file, make_result, tmp_path):
    """The 210 runs of the scenario: those of batch 128 with three cameras run out, others fit."""
    results = []
    for cell in load_scenario(SCENARIO).cells:
        runs_out = (cell.batch_size, cell.cameras) == (128, 3)
        made = make_result(verdict="oom" if runs_out else "fits")
        oom = replace(made.oom, op="aten.addmm.default", message=MESSAGE) if made.oom else None
        reason = f"it takes {cell.batch_size + 1}.64 GiB"
        results.append(replace(made, cell=cell, reason=reason, oom=oom))
    report = render_report(Report(name="3090", results=tuple(results)))
    return open_file(write_page(tmp_path / "report.html", report))


def test_words_mean_what_they_say(page):
    """Batch 64 is the batch size, and no other 64 of the row."""
    for words, count in COUNTS.items():
        page.fill("#filter-text", words)
        assert f"{count} of 210 runs" == page.inner_text("#filter-count"), words


def test_the_placeholder_is_an_example_that_finds_something(page):
    """It is what the filter promises."""
    page.fill("#filter-text", page.get_attribute("#filter-text", "placeholder"))
    assert "6 of 210 runs" == page.inner_text("#filter-count")
