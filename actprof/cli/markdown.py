"""Tables for an issue or a pull request, in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterable

_MARKS = str.maketrans({"\\": "\\\\", "|": "\\|", "`": "\\`", "*": "\\*", "<": "&lt;", "\n": " "})


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table; as in `plain_table`, a column whose head begins with `>` has its cells to the right.

    Texts stay texts: what Markdown or HTML would read as a mark is escaped.
    """
    names = list(heads)
    lines = [
        [markdown_text(name.removeprefix(">")) for name in names],
        ["--:" if name.startswith(">") else ":--" for name in names],
        *([markdown_text(value) for value in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(value: object) -> str:
    """Return a text of one line in which nothing is a mark."""
    return str(value).strip().translate(_MARKS)
