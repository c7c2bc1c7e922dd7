"""What README.md and docs/ show of commands is what the commands print."""

from __future__ import annotations

from functools import cache

import pytest
from consoles import PAGES, ROOT, Block, blocks, difference, make_place, renewed, run

SHOWN = [block for page in PAGES for block in blocks(page)]
PRINTED = ["It fits.", "", "process  4 GiB", "took 3 s", "with torch 2.11.0+cu130", "end"]


def named(block):
    """Return the page and the command, for the list of tests."""
    return f"{block.page.name}: {' '.join(block.command.split())}"


def block(*shown):
    """Return a block that shows these lines."""
    return Block(ROOT / "README.md", "$ actprof predict", "", shown)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return a function that gives the lines of a command, which is run once for all pages that show it."""
    place = make_place(tmp_path_factory.mktemp("place"))
    return cache(lambda command: run(command, place))


@pytest.mark.parametrize("block", [block for block in SHOWN if not block.reason], ids=named)
def test_a_page_shows_what_its_command_prints(block, printed):
    """`make outputs` prints it anew."""
    assert "" == difference(block, printed(block.command))


def test_there_are_blocks_and_every_page_marks_them():
    """Of the commands whose output is shown none hides in another kind of block; most are run."""
    others = [
        (page.name, line)
        for page in PAGES
        if page.parent.name == "docs"
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("    $ actprof")
    ]

    assert [] == others
    assert len([block for block in SHOWN if not block.reason]) > len(SHOWN) / 2


@pytest.mark.parametrize(
    "shown",
    [
        PRINTED,
        ["It fits.", "…"],
        ["It fits.", "…", "end"],
        ["…", "process  4 GiB", "took 9 s", "…"],
        ["…", "with torch 2.12.1", "end"],
        ["It fits.", "", "process  4 GiB", "took 5 min", "with torch 2.6.0", "end"],
    ],
)
def test_lines_may_be_left_out_and_times_and_versions_differ(shown):
    """Where `…` stands; the rest is compared."""
    assert "" == difference(block(*shown), PRINTED)


@pytest.mark.parametrize(
    "shown",
    [
        [],
        ["It fits."],
        ["", "…"],
        ["It fits.", "process  4 GiB", "…"],
        ["It fits.", "…", "process  5 GiB", "…"],
        ["…", "took 3 s", "…", "process  4 GiB", "…"],
        ["…", "took 3 s"],
        [*PRINTED, "…"],
    ],
)
def test_other_lines_are_told(shown):
    """Other figures, another order, an end that is none."""
    assert difference(block(*shown), PRINTED)


def test_lines_are_renewed_as_many_as_there_were():
    """From what begins most like them."""
    shown = block("It is tight.", "…", "process  9 GiB", "…")
    assert ["It fits.", "…", "process  4 GiB", "…"] == renewed(shown, PRINTED)
    assert PRINTED == renewed(block("old"), PRINTED)
