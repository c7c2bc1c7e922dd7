"""Words of a shell's text, and the variables that fill them while the text is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?([-=+?])([^}]*)|(##\*/|[#%/^,@:])[^}]*)?\})")
_SUM = re.compile(r"\$\(\(([^()]*)\)\)")
_TERMS = re.compile(r"\d+(?:[+-]\d+)*")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a word: its text, and whether a shell puts values for variables into it.

    `runs` is the command whose output belongs there; nobody runs it, and the text stands for what it prints.
    """

    text: str
    expands: bool = False
    quoted: bool = False
    runs: str = ""


Word = tuple[Piece, ...]


@dataclass(slots=True)
class Values:
    """Variables while a text is read: those that it sets, then those around it.

    Attributes:
        unset: names that were asked for and that nothing sets; a shell takes them as empty.
        stand_ins: text that stands for what a command prints -> that command.
    """

    own: dict[str, str] = field(default_factory=dict)
    around: Mapping[str, str] = field(default_factory=lambda: os.environ)
    unset: list[str] = field(default_factory=list)
    stand_ins: dict[str, str] = field(default_factory=dict)

    def expand(self, word: Word) -> list[str]:
        """Return the words that a shell makes of `word`: several where an unquoted variable has blanks."""
        name = word[0].text.removesuffix("=")
        if len(word) == 2 and word[1].runs and name in self.around:  # this process has what it printed
            return [f"{name}={self.around[name]}"]
        self.stand_ins |= {piece.text: piece.runs for piece in word if piece.runs}
        text = "".join(self._fill(piece.text) if piece.expands else piece.text for piece in word)
        alone = len(word) == 1 and not word[0].quoted and _VARIABLE.fullmatch(word[0].text)
        return text.split() if alone else [text]

    def _fill(self, text: str) -> str:
        return _VARIABLE.sub(self._value, _SUM.sub(self._sum, text))

    def _sum(self, match: re.Match[str]) -> str:
        """Return what `$((2 * GPUS))` is; its text where it is more than products or sums."""
        text = re.sub(r"\$?\{?([A-Za-z_]\w*)\}?", lambda name: self._fill(f"${{{name[1]}}}"), match[1])
        plain = re.sub(r"\s", "", text)
        if re.fullmatch(r"\d+(?:\*\d+)*", plain):
            return str(math.prod(map(int, plain.split("*"))))
        return str(sum(map(int, re.findall(r"[+-]?\d+", plain)))) if _TERMS.fullmatch(plain) else match[0]

    def _value(self, match: re.Match[str]) -> str:
        name = match[1] or match[2]
        known = self.own.get(name, self.around.get(name))
        if match[3] == "+":
            return match[4] if known else ""
        if match[5] == "##*/" and known:
            return known.rpartition("/")[2]
        if known or (known is not None and not match[3]):
            return known
        if match[3] in ("-", "="):
            return self._fill(match[4])
        if name.isdecimal() or name in ("RANDOM", "HOSTNAME"):
            return "" if name.isdecimal() else name
        self.unset.append(name)
        return ""
