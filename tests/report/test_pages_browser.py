"""What holds of every page in a browser: readable by all, whole on paper, at home on a phone."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from loader_made import make_result as make_loading

from actprof.explanation.explain import explain_cell
from actprof.ledger.accuracy import summarise
from actprof.ledger.keep import read_rows
from actprof.report.accuracy_page import render_accuracy
from actprof.report.answer_page import render_answer
from actprof.report.explain_page import render_explanation
from actprof.report.loader_page import render_loading
from actprof.report.page import write_page
from actprof.report.replay_page import render_replay
from actprof.report.sweep_page import Report, render_report
from actprof.snapshots.recording import open_recording
from actprof.snapshots.replay_recording import replay_recording
from actprof.snapshots.what_if_replay import make_questions
from actprof.units import GIB

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("sweep", "explain", "replay", "loader", "accuracy", "answer")
WORDS = """[...document.querySelectorAll('tbody > tr:not(.details):not(.details *)')].flatMap((row) => {
  const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT), words = [];
  while (walker.nextNode()) words.push(...walker.currentNode.data.split(/\\s+/));
  return words;
})"""
RIGHT_ENDS = "[...document.querySelectorAll('.plot .main-svg')].map((s) => s.getBoundingClientRect().right)"
PAPER, LONG = 703, 30  # pixels between the margins of A4; letters of a word that may be broken
# How many elements keys reach, and what has the focus, with whether it shows that.
BY_KEYS = """() => {
  const all = [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')];
  return all.filter((e) => e.offsetParent && e.tabIndex >= 0 && !e.disabled).length;
}"""
FOCUSED = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const isOutlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return [e.id || e.className || e.tagName, isOutlined];
}"""


@pytest.fixture
def make_page(grid, grounding, measure, seed, tmp_path):
    """Return a function that writes a page of one kind."""

    def sweep():
        runs = tuple(measure(r, seconds=0.3) for r in grid[:3])
        return render_report(Report(name="grid", results=grid, measured=runs, groundings=(grounding,)))

    def explain():
        found = explain_cell(seed(batch_size=1100, gpu=None, capacity_bytes=2 * GIB))
        return render_explanation(found, versus=explain_cell(seed(batch_size=8)))

    def replay():
        recording = open_recording(ROOT / "tests" / "data" / "expandable-oom.pickle")
        return render_replay(replay_recording(recording, make_questions(compare=("",)), name="run.pickle"))

    made = {
        "sweep": sweep,
        "explain": explain,
        "replay": replay,
        "loader": lambda: render_loading(make_loading(), step_seconds=0.47, step_batch_size=32),
        "accuracy": lambda: render_accuracy(summarise(read_rows(ROOT / "reports" / "accuracy"))),
        "answer": lambda: render_answer(grid[2]),
    }
    return lambda kind: write_page(tmp_path / f"{kind}.html", made[kind]())


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_keeps_anybody_from_reading(open_file, make_page, kind):
    """Axe has no serious complaint: contrast, names, roles, focus; light and dark, wide and on a phone."""
    from axe_playwright_python.sync_playwright import Axe

    path = make_page(kind)
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light")):
        page = open_file(path, width=width, scheme=scheme)
        found = Axe().run(page).response["violations"]
        bad = [rule for rule in found if rule["impact"] in ("serious", "critical")]
        assert [] == [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in bad], (width, scheme)


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_on_paper_has_all_rows(open_file, make_page, kind):
    """Of every table, also what the filter hides or is not picked; and no figure is wider than the paper."""
    from pypdf import PdfReader

    page = open_file(make_page(kind), width=390)
    if page.locator("#filter-text").count():
        page.fill("#filter-text", "no such row")
    words = page.evaluate(WORDS)
    page.evaluate(f"addEventListener('beforeprint', () => (window.right = {RIGHT_ENDS}))")
    paper = PdfReader(io.BytesIO(page.pdf(format="A4")))
    text = "".join(sheet.extract_text() for sheet in paper.pages)
    text = re.sub(r"\s", "", unicodedata.normalize("NFKC", text))  # a font may draw two letters as one
    counts = Counter(unicodedata.normalize("NFKC", word) for word in words if 0 < len(word) < LONG)
    assert {} == {word: n for word, n in counts.items() if n > text.count(word)}
    assert all(end <= PAPER for end in page.evaluate("window.right"))


@pytest.mark.parametrize("kind", PAGES)
def test_a_phone_has_the_contents_at_hand_and_says_where_to_scroll(open_file, make_page, kind):
    """The contents stay at the top of the screen; what is wider than its box says so and takes the focus."""
    page = open_file(make_page(kind), width=390, height=844)
    assert 390 == page.evaluate("document.documentElement.scrollWidth")
    if kind == "answer":
        return
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    page.wait_for_timeout(100)
    box = page.locator(".contents").bounding_box()
    assert (0, True) == (round(box["y"]), box["height"] < 60)
    wide = page.eval_on_selector_all(
        ".scroll, .plot-box",
        """all => all.filter(box => box.scrollWidth > box.clientWidth + 1)
             .map(box => [box.classList.contains('more'), box.tabIndex])""",
    )
    assert {(True, 0)} >= set(map(tuple, wide))


@pytest.mark.parametrize("kind", PAGES[:-1])
def test_keys_reach_every_control_and_show_where_they_are(open_file, make_page, kind):
    """As many stops as there are links, buttons, selects, fields and boxes that scroll."""
    page = open_file(make_page(kind), height=700)
    count = min(page.evaluate(BY_KEYS), 150)
    seen = []
    for _ in range(count):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
    assert [] == [name for name, is_outlined in seen if not is_outlined]
    assert "skip" == seen[0][0]


def test_nothing_moves_for_those_who_asked_for_that(open_file, make_page):
    """No smooth scrolling, no transition, and a module that is enlarged is so at once."""
    page = open_file(make_page("explain"), reduced_motion="reduce")
    assert "auto" == page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
    assert 0 == page.evaluate(
        """[...document.querySelectorAll('body *')].filter((e) => {
             const style = getComputedStyle(e);
             return parseFloat(style.transitionDuration) > 0 || parseFloat(style.animationDuration) > 0;
           }).length"""
    )
    slices = "[...document.querySelectorAll('#modules .slice path')]"
    widths = f"{slices}.map((path) => path.getBoundingClientRect().width)"
    before = page.evaluate(widths)
    page.locator("#modules .slice").nth(2).click()
    at_once = page.evaluate(widths)
    page.wait_for_timeout(900)
    assert before != at_once == page.evaluate(widths)
