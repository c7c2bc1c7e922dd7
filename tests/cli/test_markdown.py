"""Tables for issues and pull requests."""

from __future__ import annotations

from actprof.cli.markdown import markdown_table


def test_a_table_is_githubs_and_texts_stay_texts():
    """Bars, line feeds, emphasis and tags in a cell neither part nor style it."""
    shown = markdown_table(("GPU", ">Process"), [("RTX 3090", 13.29), ("a|b\n*c* <img>", "\u2013")])

    assert [
        "| GPU | Process |",
        "| :-- | --: |",
        "| RTX 3090 | 13.29 |",
        "| a\\|b \\*c\\* &lt;img> | \u2013 |",
    ] == shown.splitlines()
