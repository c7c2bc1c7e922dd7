"""The report: one HTML file that opens without a network, made from results alone (no torch, no lerobot).

`render_report` returns the text, `write_report` writes it whole or not at all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from actprof.errors import StoreError
from actprof.report.model import Report

__all__ = ["Report", "render_report", "write_report"]


def render_report(report: Report) -> str:
    """Return the report as one self-contained HTML page."""
    # plotly and jinja2 take a third of a second to import; who only builds a Report does not pay for them
    from actprof.report.page import render_page

    return render_page(report)


def write_report(report: Report, path: str | Path) -> Path:
    """Write the report to `path`, replacing what is there in one move, and return the path.

    Raises:
        StoreError: the file cannot be written.
    """
    target = Path(path)
    text = render_report(report)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(target)
    except OSError as error:
        raise StoreError(f"the report cannot be written to {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # there is nothing to remove after a success, nor where nothing could be made
            unfinished.unlink()
    return target
