"""What may be shown in a terminal."""

from __future__ import annotations

import logging
import unicodedata

import pytest

from actprof.printable import PrintableFormatter, printable

VISIBLE_FORMAT = set(map(chr, (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)))


def test_no_control_or_invisible_character_is_left():
    """Of all of Unicode nothing is printed that controls, hides or turns; but for marks that are seen."""
    everything = "".join(map(chr, range(0x110000)))

    left = {c for c in printable(everything) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}

    hieroglyphs_and_scores = {c for c in left if ord(c) > 0x13000 and ord(c) < 0xE0000}
    assert {"\n"} | VISIBLE_FORMAT == left - hieroglyphs_and_scores


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]52;c;aGk=\x07", "]52;c;aGk="),
        ("a\tb\r\nc\bd", "a b\ncd"),
        ("safe\u202etxt.exe", "safetxt.exe"),
        ("half \ud83d", "half \ufffd"),
        ("Bär, 12\u202f%, \u2212 \N{CJK UNIFIED IDEOGRAPH-4E2D} \N{PARTY POPPER}", None),
    ],
)
def test_what_is_read_stays_and_what_commands_goes(text, shown):
    """Letters, signs and line feeds stay as they are."""
    assert (text if shown is None else shown) == printable(text)


def test_log_records_are_printable():
    """A message and its traceback, whatever they quote."""
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "in %s", ("\x1b]0;title\x07",), None)
    assert "in ]0;title" == PrintableFormatter("%(message)s").format(record)
