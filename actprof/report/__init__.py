"""The report: one HTML file that opens without a network, made from results alone (no torch, no lerobot).

`render_report` returns the text, `write_report` writes it whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

from actprof.files import write_whole
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
    write_whole(target, render_report(report).encode())
    return target
