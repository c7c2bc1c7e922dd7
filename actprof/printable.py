"""What may be shown in a terminal: texts come from files and names that others made, and may command it.

Control characters move the cursor, set titles and clipboards; marks of direction and of no width make a text
read as another. None of them is printed. The gates are the consoles of `actprof.cli.console` for what has
styles, `actprof.cli.echo` for plain text, and `PrintableFormatter` for log records.
"""

from __future__ import annotations

import logging
import re

# C0 but the line feed, DEL, C1; soft hyphens, joiners, marks and overrides of direction, tags, surrogates.
_HOSTILE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BLANKS = "\t\u2028\u2029"


def printable(text: str) -> str:
    """Return `text` without what would command a terminal; tabs become blanks, surrogates marks."""
    return _HOSTILE.sub(_instead, text)


def _instead(match: re.Match[str]) -> str:
    character = match.group()
    return " " if character in _BLANKS else "\ufffd" if "\ud800" <= character <= "\udfff" else ""


class PrintableFormatter(logging.Formatter):
    """Formats records as plain text that is safe to print."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, tracebacks included."""
        return printable(super().format(record))


def log_to_stderr(*, verbose: bool) -> None:
    """Have warnings, or with `verbose` all that is told, printed on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("actprof: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
