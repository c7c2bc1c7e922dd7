"""Explain the terms that answers use, a sentence each."""

from __future__ import annotations

import click
from rich.markup import escape

from actprof.cli.console import output, plain_table, print_json
from actprof.cli.options import json_option
from actprof.glossary import GLOSSARY, find_terms

_TERM_COLUMNS = 24


@click.command(name="glossary")
@click.argument("term", nargs=-1)
@json_option
def command(*, term: tuple[str, ...], as_json: bool) -> None:
    """Explain the terms that answers use, a sentence each; with TERM those that have it in their name."""
    found = find_terms(" ".join(term)) if term else GLOSSARY
    if as_json:
        print_json(found)
        return
    table = plain_table(show_header=False)
    table.add_column(style="bold", max_width=_TERM_COLUMNS)
    table.add_column()
    for name, text in found.items():
        table.add_row(escape(name), escape(text))
    output().print(table)
