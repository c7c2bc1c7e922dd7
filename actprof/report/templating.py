"""Templates of pages that need no network: everything is inlined, every text is escaped."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from actprof.units import format_bytes


@cache
def templates() -> jinja2.Environment:
    """Return the environment of our templates: filters `data` and `bytes`, `inline(name)`, `plotly_js()`.

    A name that a template uses and nobody gave is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("actprof.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data"] = embed_json
    environment.filters["bytes"] = format_bytes
    environment.globals.update(inline=_inline, plotly_js=_plotly_js)
    return environment


def embed_json(value: Any) -> Markup:
    """Return JSON that may stand inside a script element whatever its texts contain."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # escaped above


def _inline(name: str) -> Markup:
    """Return one of our own templates as it stands."""
    source, _, _ = templates().loader.get_source(templates(), name)  # type: ignore[union-attr]  # set above
    return Markup(source)  # noqa: S704  # a file of this package


def _plotly_js() -> Markup:
    return Markup(get_plotlyjs())  # noqa: S704  # plotly's own file, made to be inlined
