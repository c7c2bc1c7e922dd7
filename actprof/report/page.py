"""The shell under all pages: a template and its values become one file that needs no network.

Styles, scripts, figures and data are inlined, and every text is escaped. Figures, data and the chart library
(`vendor/`, made by `benchmarks/ship_plotly.py`) are gzip in base64, which the page unpacks once its text and
tables are painted.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup, escape

from actprof.files import write_whole
from actprof.glossary import GLOSSARY
from actprof.report.parts import Panel
from actprof.units import format_bytes
from actprof.words import VERDICT_WORDS

_TEMPLATES = Path(__file__).parent / "templates"
_LIBRARY = Path(__file__).parent / "vendor" / "plotly.js.gz"


class Plots(dict[str, go.Figure]):
    """The figures of a page, by the id under which a template places them."""

    def add(self, figure: go.Figure, title: str, label: str, name: str = "") -> Panel:
        """Put a figure on the page; see `Panel`. Without a name of its own it is numbered."""
        panel = Panel(name or f"figure-{len(self)}", title, label)
        self[panel.figure] = figure
        return panel


def render(template: str, figures: Plots, **values: Any) -> str:
    """Return the page that `template` makes of `values`; a name that it uses and nobody gave is an error.

    Args:
        template: name of a file that extends `base.html.j2`, without suffixes.
        figures: that the page places.
        values: by the names that the template uses.
    """
    page = _environment().get_template(f"{template}.html.j2")
    plots = {name: figure.to_plotly_json() for name, figure in figures.items()}
    for plot in plots.values():
        plot["layout"].pop("template", None)  # the page has its own, in its own colours
    return page.render(figures=plots, contents=[], packed=[], **values)  # the template fills both lists


def write_page(path: str | Path, html: str) -> Path:
    """Write a page whole or not at all, replacing what is there in one move, and return the path.

    Raises:
        StoreError: the file cannot be written.
    """
    target = Path(path)
    write_whole(target, html.encode(errors="replace"))
    return target


def embed_json(value: Any) -> Markup:
    """Return JSON, packed so that it may stand inside a script element whatever its texts contain."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return _in_base64(gzip.compress(text.encode(errors="replace"), mtime=0))


def _in_base64(packed: bytes) -> Markup:
    return Markup(base64.b64encode(packed).decode())  # noqa: S704  # letters, digits, + / and =


def _mark_code(text: str) -> Markup:
    """Return a text with what stands between backticks as code."""
    parts = enumerate(escape(text).split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in parts)


def _keep_flags(text: str) -> Markup:
    """Return a command whose flags are not broken at their hyphens."""
    parts = enumerate(re.split(r"(?<!\S)(--[\w-]+)", text))
    flag = Markup('<span class="flag">{}</span>')
    return Markup("").join(flag.format(part) if i % 2 else escape(part) for i, part in parts)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "data": embed_json,
        "bytes": format_bytes,
        "code": _mark_code,
        "shell": _keep_flags,
    }
    environment.globals |= {
        "inline": lambda name: Markup((_TEMPLATES / name).read_text(encoding="utf-8")),  # noqa: S704  # ours
        "library": lambda: _in_base64(_LIBRARY.read_bytes()),
        "glossary": GLOSSARY,
        "verdict_words": VERDICT_WORDS,
    }
    return environment
