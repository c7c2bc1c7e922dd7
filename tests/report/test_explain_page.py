"""The page of an explanation: self-contained, complete, figures that add up, and in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from actprof.advice.first_aid import first_aid
from actprof.errors import StoreError
from actprof.explanation.explain import RUNS_OUT, explain_cell
from actprof.report.explain_figures import draw_course, draw_modules, stacked_kinds
from actprof.report.explain_page import render_explanation
from actprof.report.makeup import colour_parts, list_components, split_by_kind
from actprof.report.page import write_page
from actprof.results import ComponentSize
from actprof.units import GIB


@pytest.fixture
def found(seed):
    """A run that runs out: two moments."""
    return explain_cell(seed(batch_size=1100, gpu=None, capacity_bytes=2 * GIB))


@pytest.fixture
def versus(seed):
    """One that fits."""
    return explain_cell(seed(batch_size=8))


@pytest.fixture
def text(found, versus):
    return render_explanation(found, versus=versus)


def test_nothing_is_loaded_from_elsewhere(text):
    """The page asks for no other file, and forbids itself to."""
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!#)""", own)
    assert "default-src 'none'" in own


def test_names_are_escaped(found):
    """A name cannot become markup, in the text or in a figure."""
    tensors = tuple(replace(tensor, module="<b>M</b>") for tensor in found.moment.tensors)
    root = replace(
        found.moment.modules,
        children=tuple(replace(c, name="<b>M</b>") for c in found.moment.modules.children),
    )
    moment = replace(found.moment, tensors=tensors, modules=root)
    page = render_explanation(replace(found, moments=(moment,)))
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "&lt;b&gt;M&lt;/b&gt;" in own
    assert "<b>M</b>" not in page
    labels = draw_modules(moment, found.result.cell.policy)["data"][0]["labels"]
    assert not any("<b>" in label for label in labels)


def test_every_moment_has_its_figures_and_tables(text, found, packed):
    """An icicle, a course, kinds and ops for each; a row for each tensor of the first."""
    figures = packed(text)
    assert {f"{name}-{index}" for name in ("modules", "course") for index in (0, 1)} == set(figures)
    assert 4 + 3 == text.count('<table class="bars">')  # kinds and ops twice, three of the difference
    assert len(found.moment.tensors) == text.count('class="unfold"')


def test_without_another_cell_there_is_no_difference(found):
    """Neither the section nor its entry in the contents."""
    assert "#difference" not in render_explanation(found)


def test_parameters_are_shown_frozen_ones_apart(found):
    """With the tokens that the policy reads, in its own word; of a run that names none there is no table."""
    tower = ComponentSize(
        component="vision tower", trainable=0, trainable_bytes=0, frozen=1000, frozen_bytes=2000,
        dtypes=("bfloat16",),
    )  # fmt: skip
    cell = replace(found.result.cell, policy="smolvla", overrides={}, peft={"r": 16}, ema=True)
    result = replace(found.result, components=(tower,), encoder_tokens=177, cell=cell)
    page = render_explanation(replace(found, result=result))

    assert "SmolVLA, two 640x480 cameras, batch 1100, peft.r=16, EMA on, on" in page
    assert "177\nprefix tokens" in page
    assert "vision tower" in page
    assert "<dt>Moving average</dt>" in page

    page = render_explanation(replace(found, result=replace(result, encoder_tokens=0)))
    assert "tokens of each sample" not in page
    assert 'id="parameters"' not in render_explanation(found)


@pytest.mark.parametrize(("path", "name"), [("model.encoder", "encoder"), ("model.backbone", "backbone")])
def test_a_component_has_the_colour_that_it_has_on_every_page(found, make_result, path, name):
    """That of the peak's makeup in the report, and on the answer's page."""
    modules = found.moment.modules
    only = replace(modules.children[0], name=path, path=path, children=())
    moment = replace(found.moment, modules=replace(modules, children=(only,)))
    (icicle,) = draw_modules(moment, "act")["data"]
    result = make_result()
    parts = dict(colour_parts(split_by_kind([result]), list_components([result])))
    assert parts[f"activations: {name}"] == icicle["marker"]["colors"][1]


def test_the_remedies_have_the_batch_that_the_advice_names(found):
    """And not half of the run's."""
    aid = first_aid(found.result)
    page = render_explanation(found, remedy=aid)
    assert aid.family == "batch"
    assert page.count(f"--batch_size={aid.after.cell.batch_size}") > 1
    assert f"--batch_size={found.result.cell.batch_size // 2}" not in page


def test_rectangles_add_up_at_every_level(found):
    """Of each parent with children the children's values are its value, and the root's is all."""
    for moment in found.moments:
        (icicle,) = draw_modules(moment, found.result.cell.policy)["data"]
        values = dict(zip(icicle["ids"], icicle["values"], strict=True))
        inside = {}
        for name, parent in zip(icicle["ids"], icicle["parents"], strict=True):
            inside.setdefault(parent, []).append(values[name])
        assert len(values) == len(icicle["ids"])
        assert moment.allocated_bytes == values["allocated"]
        for parent, sizes in inside.items():
            assert not parent or values[parent] == sum(sizes)


def test_the_stack_adds_up_and_the_moment_is_marked(found):
    """Kinds that are small throughout are one; the sum of all is what is allocated."""
    for moment in found.moments:
        stack = stacked_kinds(moment.course)
        sums = [sum(values) for values in zip(*stack.values(), strict=True)]
        assert list(moment.course.allocated_bytes) == sums
        layout = draw_course(moment, 0)["layout"]
        notes = [note["text"] for note in layout["annotations"]]
        assert f" step {len(moment.course.steps)}" in notes
        assert ("runs out" if moment.what == RUNS_OUT else "peak") in notes[-1]
        bands = [shape for shape in layout["shapes"] if shape["type"] == "rect"]
        assert len(moment.course.phases) == len(bands)


def test_the_page_is_written_whole_or_not_at_all(found, tmp_path):
    """A folder that cannot be made is named."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", render_explanation(found))


def test_a_run_that_never_began_has_a_page(seed):
    """Nothing is allocated, so nothing is drawn, and nothing fails."""
    found = explain_cell(seed(gpu=None, capacity_bytes=1 << 20, used_by_others_bytes=1 << 20))
    assert "Nothing is allocated." in render_explanation(found)


@pytest.mark.browser
@pytest.mark.parametrize("window", [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=str)
def test_the_page_works_in_a_browser(open_file, found, versus, tmp_path, window):
    """Figures are drawn, the table sorts and filters, nothing complains, no page is wider than the window."""
    width, scheme = window
    page = open_file(
        write_page(tmp_path / "page.html", render_explanation(found, versus=versus)),
        width=width,
        scheme=scheme,
    )
    assert 2 == page.locator(".plot svg.main-svg:first-child").count()
    page.select_option("#modules-view", "1")
    page.wait_for_selector('[data-figure="modules-1"] svg.main-svg')
    page.locator("thead button", has_text="Size").click()
    cells = page.locator("tbody tr:first-child td[data-sort]:nth-child(2)")
    sizes = [int(size) for size in cells.evaluate_all("all => all.map(cell => cell.dataset.sort)")]
    assert sorted(sizes) == sizes
    page.select_option("#filter-verdict", "activations")
    assert f"1 of {len(sizes)} tensors" == page.inner_text("#filter-count")
    page.locator("tbody:not([hidden]) .unfold").first.click()
    assert page.locator(".details:visible dl").first.is_visible()
    assert width == page.evaluate("document.documentElement.scrollWidth")
