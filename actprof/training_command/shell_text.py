"""A text as people paste it, taken apart into statements: of bash, PowerShell, cmd or a notebook's cell.

Nothing is run. What a web page or a word processor made of quotes and dashes is put right, and said.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from actprof.errors import UsageError
from actprof.training_command.shell_values import Piece, Word

_DASH = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_TYPED = str.maketrans({
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\uff02", '"'), **dict.fromkeys("\u200b\u2060\ufeff", None),
    **dict.fromkeys("\u00a0\u2007\u202f\u3000", " "), "\u2028": "\n", "\u2029": "\n",
})  # fmt: skip
_SINGLE_QUOTED = re.compile("(?<![^\\s={:,\\[])[\u2018\u201b]([^\u2018\u2019\u201b]*)[\u2019\u201b]")
_LONG_DASH = re.compile(rf"(?<!\S)[{_DASH}-]*[{_DASH}][{_DASH}-]*(?=[A-Za-z])")
_SPOILT_END = re.compile(r"\\[ \t]+(?:#[^\n]*)?\r?\n(?=\s*[^\s#])")
_CONTINUED = re.compile(r"(?:\\|(?<=\s)[`^])[ \t]*(?:(?<=[ \t])#[^\n]*)?\r?\n")
_COMMENT_BETWEEN = re.compile(r"(\\[ \t]*\r?\n)(?:[ \t]*#[^\n]*\r?\n)+(?=[ \t]*-)")
_WINDOWS = re.compile(r"\s[`^][ \t]*\r?\n|\$env:|(?m:^\s*set \"?\w+=)|(?<![\w/])[A-Za-z]:\\|\\[Ss]cripts\\")
_PROMPT = re.compile(
    r"(?m)^[ \t]*(?:\([\w.-]+\)[ \t]+)?"
    r"(?:PS [^\n>]*>|[A-Z]:\\[^\n>]*>|[\w.-]+@[^\n$#]*[$#]|[$%>]|>>>)[ \t]+(?=\S)"
)
_RUN = re.compile(r"\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|`[^`\n]+`")
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r]+)|(?P<comment>\#[^\n]*)
    |(?P<single>'[^']*')|(?P<double>"(?:\\.|[^"\\])*")
    |(?P<run>{_RUN.pattern})|(?P<hole><[A-Za-z][\w -]*>)
    |(?P<redirect>\d?(?:>>|>\||<<<|<<|>|<)(?:&[\d-]+)?|&>>?)|(?P<operator>&&|\|\||\|&|;;|[;&|\n()])
    |(?P<escape>\\.)|(?P<plain>(?:[^\s'"\\;&|()<>`$]|\$(?!\())+)|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_MENDED_ESCAPE = re.compile(r"\\([\"\\$`\n])")
_FLAG_LINE = re.compile(r"[ \t]*--[A-Za-z]")
_ALL_GIVEN = re.compile(r"\"\$[@*]\"|\$[@*](?!\w)|\"?\$\{[@*]\}\"?")
_PYTHON_VALUE = re.compile(
    r"(?m)^([A-Za-z_]\w*)[ \t]*=[ \t]*(?:r|f)?([\"'][^\"'\n]*[\"']|[\w.-]+)[ \t]*(?:#.*)?\r?$"
)
_FINDS = re.compile(r"(?:which|command -v|type -P)\s+(\S+)")
_REDIRECT_WORD = re.compile(r"\d?(?:>>?|<)(?:&\d)?|&>>?|\d?>>?[^&\s]\S*|&>\S+")
_OPERATORS = {"&&", "||", "|", "|&", "&", ";", ";;"}
_OPERATOR, _REDIRECT, _CLOSED = "operator", "redirect", "redirect to a descriptor"
_LEFT_OVER = {"\\", "`", "^"}  # ends of lines that a shell did not join


def put_right(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text without a web page's typography, and what that was, in sentences."""
    plain = _LONG_DASH.sub(lambda match: _dashes(text, match), _SINGLE_QUOTED.sub(r"'\1'", text))
    plain = plain.translate(_TYPED)
    said = []
    if match := _LONG_DASH.search(text):
        flag = text[match.start() :].split(maxsplit=1)[0].partition("=")[0]
        said.append(f"{flag} begins with a typographic dash; type two hyphens, as a shell takes it as it is")
    if any(quote in text for quote in "\u201c\u201d\u201e") or _SINGLE_QUOTED.search(text):
        said.append("typographic quotes are no quotes to a shell; type straight ones")
    if any(blank in text for blank in "\u00a0\u202f\u3000\u200b\ufeff"):
        said.append("a blank in it is none to a shell (a no-break or zero-width one); type it anew")
    return plain, tuple(said)


def _dashes(text: str, match: re.Match[str]) -> str:
    letters = re.match(r"\w*", text[match.end() :])
    return "-" if letters and len(letters[0]) == 1 else "--"


def statements_of_text(text: str) -> tuple[list[list[Word]], tuple[str, ...]]:
    """Return the statements of a text for a shell, without redirections, and what was put right in it.

    Raises:
        UsageError: a quote is not closed.
    """
    text, said = put_right(text)
    if _SPOILT_END.search(text):
        said += ("a backslash with a blank behind it does not continue the line; remove the blank",)
    if _COMMENT_BETWEEN.search(text):
        said += ("a line of comment between continued lines ends the command there; take it out",)
        text = _COMMENT_BETWEEN.sub(r"\1", text)
    windows = bool(_WINDOWS.search(text))
    text = _plain_lines(_CONTINUED.sub(" ", text), windows=windows)
    found: list[list[Word]] = [[]]
    skipping = False
    text, joined = _joined(text)
    for part in _tokens(text, windows=windows):
        if isinstance(part, str):
            skipping = part == _REDIRECT
            if part == _OPERATOR:
                found.append([])
        elif skipping:
            skipping = False
        elif "".join(piece.text for piece in part) not in _LEFT_OVER:
            found[-1].append(part)
    return [statement for statement in found if statement], said + joined


def _joined(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text whose lines of flags follow what they belong to, and what is to be said of it."""
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and lines[-1].strip() and "#" not in lines[-1] and _FLAG_LINE.match(line):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    same = len(lines) == text.count("\n") + 1
    said = "a line that goes on needs a backslash at its end (PowerShell a backtick, cmd a caret); add it"
    return "\n".join(lines), () if same else (said,)


def statements_of_words(words: Sequence[str]) -> tuple[list[list[Word]], tuple[str, ...]]:
    """Return the statements of words that a shell has split, or that somebody split at blanks."""
    found: list[list[Word]] = [[]]
    unread = any(word in _OPERATORS for word in words)  # no shell has seen them
    said: dict[str, None] = {}
    skipping = False
    for given in words:
        word, putting = put_right(given)
        said |= dict.fromkeys(putting)
        if word in _OPERATORS or word == "\n":
            found.append([])
        elif _REDIRECT_WORD.fullmatch(word):
            skipping = word[-1] in "<>"
        elif skipping:
            skipping = False
        elif word.strip() and word.strip() not in _LEFT_OVER:
            ends = word.endswith(";") and not word.endswith("\\;")
            word = word.removesuffix(";") if ends else word
            if putting and word.partition("=")[2][:1] in ("'", '"'):
                word = word.replace(word.partition("=")[2][0], "")
            found[-1] += [(Piece(word, expands=unread, quoted=True),)] if word else []
            found += [[]] if ends else []
        elif given != "" and not word.strip():
            said["an escaped blank stands alone, as behind a backslash at a line's end; remove it"] = None
    return [statement for statement in found if statement], tuple(said)


def _plain_lines(text: str, *, windows: bool) -> str:
    """Return a text in which prompts, here-documents, arrays and other shells' variables are bash's."""
    text = re.sub(r"(?m)^[ \t]*(?:```|~~~)[\w{}. -]*$", "", _PROMPT.sub("", text))
    text = re.sub(r"(?s)<<-?[ \t]*(['\"]?)(\w+)\1([^\n]*)\n(.*?)\n[ \t]*\2\b", r"\3\n\4\n", text)
    text = re.sub(r"(?m)^\s*os\.environ\[['\"](\w+)['\"]\]\s*=\s*", r"export \1=", text)
    text = re.sub(r"(?m)^Environment=", "export ", text)  # of a unit of systemd
    text = _ALL_GIVEN.sub("", text.replace("{sys.executable}", "python"))
    text = re.sub(r"(?m)^[ \t]*\$([A-Za-z_]\w*)[ \t]*=[ \t]*", r"\1=", text)  # PowerShell's
    if re.search(r"(?m)^[ \t]*[!%]", text):
        for name in _PYTHON_VALUE.findall(text):
            text = re.sub(rf"(?<![$\w])\{{{name[0]}\}}", f"${{{name[0]}}}", text)
        text = _PYTHON_VALUE.sub(r"\1=\2", text)
    lists: dict[str, str] = {}
    for name, more, inside in re.findall(r"(?<![\w$])(\w+)(\+?)=\(([^()]*)\)", text):
        lists[name] = f"{lists.get(name, '') if more else ''} {inside}\n"
    for name, inside in lists.items():
        text = re.sub(rf"(?<![\w$]){name}\+?=\([^()]*\)", "", text)
        flags = re.sub(r"(?m)(^|\s)#.*$", "", inside).replace("\n", " ")
        text = re.sub(rf'"?\$\{{{name}\[[@*]\]\}}"?', flags.replace("\\", r"\\"), text)
    if windows:
        text = re.sub(r"\$env:(\w+)\s*=\s*", r"export \1=", text, flags=re.IGNORECASE)
        text = re.sub(r"\$env:(\w+)", r"${\1}", text, flags=re.IGNORECASE)
        text = re.sub(r"%(\w+)%", r"${\1}", text)
    return text


def _tokens(text: str, *, windows: bool) -> Iterator[Word | str]:
    """Yield words, and what parts them: an operator, or a redirection, behind which a file may follow."""
    word: list[Piece] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        kind = match.lastgroup if match else "other"
        assert match is not None  # noqa: S101 - the last alternative takes anything
        inside = bool(word) and kind in ("comment", "redirect")
        if kind == "comment" and inside:
            kind, match = "plain", re.compile(r"#[^\s'\"\\;&|()<>`$]*").match(text, position) or match
        position = match.end()
        if kind in ("space", "comment", "operator", "redirect"):
            if word:
                yield tuple(word)
                word = []
            if kind == "redirect":
                yield _CLOSED if "&" in match[0][1:] else _REDIRECT
            elif kind == "operator":
                yield _OPERATOR
        elif kind == "double":
            word += _double(match[0][1:-1], windows=windows)
        else:
            word.append(_piece(kind or "other", match[0], windows=windows))
    if word:
        yield tuple(word)


def _double(inside: str, *, windows: bool) -> Iterator[Piece]:
    """Yield the pieces of a text in double quotes, where a shell fills in variables and runs commands."""
    apart = re.compile(rf"({_RUN.pattern}|{_MENDED_ESCAPE.pattern.replace('(', '(?:', 1)})")
    yield Piece("", quoted=True)
    for part in [inside] if windows else apart.split(inside):
        if _RUN.fullmatch(part):
            yield _piece("run", part, windows=windows)
        elif escaped := None if windows else _MENDED_ESCAPE.fullmatch(part):
            yield Piece(escaped[1], quoted=True)
        elif part:
            yield Piece(part, expands=True, quoted=True)


def _printed(command: str) -> str:
    """Return what a command in `$(…)` prints, as far as that is known, else a word that stands for it."""
    if asked := _FINDS.fullmatch(command):
        return asked[1]
    if "lerobot" in command and "train" in command:
        return "lerobot-train"  # where Python says that the script is
    if command == "pwd":
        return str(Path.cwd())
    if command in ("nproc", "nproc --all"):
        return str(os.cpu_count())
    if "whoami" in command:
        return "your-name"
    words = [word for word in re.findall(r"[\w.=-]+", command) if "=" not in word]
    return re.sub(r"\W", "-", words[0]) if words else "it"


def _piece(kind: str, text: str, *, windows: bool) -> Piece:
    if kind == "single":
        return Piece(text[1:-1], quoted=True)
    if text.startswith("$(("):
        return Piece(text, expands=True, quoted=True)
    if kind == "run":
        printed = _printed(text.strip("$()` \t"))
        known = _FINDS.search(text) or printed in ("lerobot-train", str(Path.cwd()), str(os.cpu_count()))
        return Piece(printed, quoted=True, runs="" if known else text)
    if kind == "escape":
        return Piece(text if windows else text[1:], quoted=True)
    if kind == "other" and text in "'\"":
        raise UsageError("No closing quotation")
    return Piece(text, expands=kind == "plain")
