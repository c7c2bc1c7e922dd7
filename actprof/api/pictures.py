"""Pictures: the answer about one run as a small page, and pages as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from actprof.results import Result

if TYPE_CHECKING:
    from actprof.advice.suggest import Remedy

ANSWER = "answer"


def write_answer(
    result: Result, path: str | Path, *, remedy: Remedy | None = None, steps: int | None = None
) -> Path:
    """Write the answer about one run as a page of 600 pixels, one file without scripts; return its path.

    Args:
        result: predicted, or measured.
        path: of the HTML file.
        remedy: the best thing to do, which stands below the verdict (`actprof.advice.first_aid.first_aid`).
        steps: of which the time is told; 10,000 samples if left out.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.answer_page import render_answer
    from actprof.report.page import write_page

    return write_page(path, render_answer(result, remedy=remedy, steps=steps))


def write_picture(page: str | Path, path: str | Path, *, part: str = ANSWER) -> Path:
    """Write a part of a page as a PNG file and return its path; needs choreographer and Chrome or Chromium.

    Args:
        page: an HTML file of actprof's.
        path: of the PNG file.
        part: `answer`, or the id of a section with figures.

    Raises:
        UsageError: choreographer or a browser is missing, or the page has no such part.
        StoreError: a file cannot be read or written.
    """
    from actprof.errors import UsageError
    from actprof.report.pictures import take_pictures

    written = take_pictures(Path(page), lambda name: Path(path) if name == part else None)
    if not written:
        raise UsageError(f"{page} has no figures in a section {part!r}")
    return written[0]


def write_pictures(page: str | Path, folder: str | Path | None = None) -> tuple[Path, ...]:
    """Write the answer and every section with figures as `answer.png`, `heatmaps.png` and so on.

    The folder is that of the page if left out. Returns the paths; errors as of `write_picture`.
    """
    from actprof.report.pictures import take_pictures

    target = Path(page).parent if folder is None else Path(folder)
    return take_pictures(Path(page), lambda name: target / f"{name}.png")
