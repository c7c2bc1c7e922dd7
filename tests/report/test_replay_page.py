"""The page of a replayed snapshot: self-contained, complete, and the segment map true to its bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actprof.allocator import BlockRecord, SegmentRecord
from actprof.errors import StoreError
from actprof.report.page import write_page
from actprof.report.replay_page import render_replay
from actprof.report.segment_map import FREE, OTHERS, ROWS, WIDTH, draw_segments
from actprof.snapshots.recording import open_recording
from actprof.snapshots.replay_recording import replay_recording
from actprof.snapshots.what_if_replay import make_questions

MIB = 1024**2
SNAPSHOT = Path(__file__).resolve().parents[1] / "data" / "expandable-oom.pickle"


@pytest.fixture(scope="module")
def replay():
    questions = make_questions(compare=("", "expandable_segments:True"))
    return replay_recording(open_recording(SNAPSHOT), questions, name="<b>run</b>.pickle")


@pytest.fixture(scope="module")
def text(replay):
    return render_replay(replay)


def test_nothing_is_loaded_from_elsewhere(text):
    """The page asks for no other file, and forbids itself to."""
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!#)""", own)
    assert "default-src 'none'" in own


def test_names_are_escaped(text):
    """A file name cannot become markup."""
    assert "&lt;b&gt;run&lt;/b&gt;.pickle" in text
    assert "<b>run</b>" not in text


def test_every_column_has_course_map_and_holders(text, replay, packed):
    """Three columns: three figures, three maps, three tables of holders."""
    figures = packed(text)
    assert 3 == len(replay.outcomes) == len(figures)
    assert 3 == text.count('<svg class="map"') == text.count('<table class="holders">')
    names = [[trace["name"] for trace in figure["data"]] for figure in figures.values()]
    assert [["reserved", "allocated", "requested"]] * 3 == names


def test_the_lead_tells_what_happens(text):
    """The recorded failure first, then each setting."""
    assert "ran out of memory." in text
    assert re.search(r"Under PyTorch&#39;s defaults it runs out of memory at event \d+", text)


def test_the_page_is_written_whole_or_not_at_all(replay, tmp_path):
    """A folder that cannot be made is named."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", render_replay(replay))


def segment(address, *sizes):
    """Return a segment of blocks; negative sizes are free."""
    blocks, place = [], address
    for size in sizes:
        state = "free" if size < 0 else "allocated"
        blocks.append(
            BlockRecord(address=place, size_bytes=abs(size), requested_bytes=abs(size), state=state)
        )
        place += abs(size)
    return SegmentRecord(
        address=address,
        total_bytes=place - address,
        stream=0,
        pool="large",
        is_expandable=False,
        blocks=tuple(blocks),
    )


def area(path):
    """Return the summed widths of the rectangles of a path."""
    return sum(float(width) for width in re.findall(r"h([\d.]+)v", path))


def test_areas_are_proportional_to_bytes():
    """Each kind of block covers its part of the rows."""
    segments = (segment(0, 8 * MIB, -4 * MIB, 20 * MIB), segment(1 << 30, 16 * MIB, -16 * MIB))
    picture = draw_segments(segments, {0: "a", 12 * MIB: "b", 1 << 30: "a"}, ("a",))
    assert ["a", OTHERS, FREE] == [layer.name for layer in picture.layers]
    assert [24 * MIB, 20 * MIB, 20 * MIB] == [layer.size_bytes for layer in picture.layers]
    whole = WIDTH * ROWS
    for layer in picture.layers:
        assert layer.size_bytes / (64 * MIB) == pytest.approx(area(layer.path) / whole, rel=0.01)
    assert 2 == picture.borders.count("M")


def test_an_empty_device_has_an_empty_map():
    """Nothing reserved, nothing drawn."""
    assert () == draw_segments((), {}, ()).layers


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_the_page_works_in_a_browser(open_file, replay, tmp_path, width, scheme):
    """Figures are drawn, nothing complains, and the page is no wider than the window."""
    page = open_file(write_page(tmp_path / "page.html", render_replay(replay)), width=width, scheme=scheme)
    assert width == page.evaluate("document.documentElement.scrollWidth")
    assert 3 == page.locator(".plot svg.main-svg:first-child").count()
    page.select_option("#map-view", "1")
    assert 1 == page.locator("svg.map:visible").count()
