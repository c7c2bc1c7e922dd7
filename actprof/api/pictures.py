"""Pictures: the answer about one run as a small page, and pages as PNG files.

PNG files need choreographer (`pip install 'actprof[png]'`) and Chrome or Chromium.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from actprof.errors import UsageError
from actprof.explanation.explain import Explanation
from actprof.results import Result

if TYPE_CHECKING:
    from actprof.advice.suggest import Remedy

ANSWER, MODULES = "answer", "modules"  # parts of pages


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


def write_answer_picture(
    result: Result, path: str | Path, *, remedy: Remedy | None = None, steps: int | None = None
) -> Path:
    """Write the same as a PNG file, twice as fine; errors as of `write_picture`."""
    with TemporaryDirectory() as folder:
        page = write_answer(result, Path(folder) / "answer.html", remedy=remedy, steps=steps)
        return write_picture(page, path)


def write_explanation_picture(found: Explanation, path: str | Path) -> Path:
    """Write who holds the memory by module as a PNG file; errors as of `write_picture`."""
    from actprof.report.explain_page import render_explanation
    from actprof.report.page import write_page

    with TemporaryDirectory() as folder:
        page = write_page(Path(folder) / "explanation.html", render_explanation(found))
        return write_picture(page, path, part=MODULES)


def write_picture(page: str | Path, path: str | Path, *, part: str = ANSWER) -> Path:
    """Write a part of a page as a PNG file and return its path.

    Args:
        page: an HTML file of actprof's.
        path: of the PNG file.
        part: `answer`, or the id of a section with figures.

    Raises:
        UsageError: choreographer or a browser is missing, or the page has no such part.
        StoreError: a file cannot be read or written.
    """
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
