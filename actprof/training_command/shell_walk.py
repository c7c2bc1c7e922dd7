"""A shell's text read statement by statement: what it sets, exports and changes to before it trains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from actprof.training_command.command_line import CommandLine, expanded
from actprof.training_command.shell_text import statements_of_text
from actprof.training_command.shell_values import Values, Word

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_KEYWORDS = {"then", "do", "else", "elif", "if", "while", "until", "!", "{", "coproc", "%time", "%%time",
             "%prun", "call", "%%bash", "%%sh", "%%shell", "%%capture", "$", "%", "@", "CMD",
             "ENTRYPOINT"}  # fmt: skip
_EXPORTS = {"export", "%env", "%set_env", "setenv", "declare", "typeset", "local", "readonly"}
_CHANGES = {"cd", "pushd", "%cd", "chdir", "set-location", "sl", "%pushd"}
_MOST_BYTES = 1 << 16
_COUNTS = re.compile(
    r"(?:PYTORCH_|CUDA_|ACCELERATE_|HF_(?:HOME|LEROBOT|HUB|DATASETS)|WORLD_SIZE|LOCAL_RANK)\w*"
)


class Shell:
    """The state of a shell while its statements are read.

    Attributes:
        values: its variables.
        exported: those that programs see.
        folder: where it is; empty: where it began.
        all_exported: whether `set -a` counts.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.exported: dict[str, str] = {}
        self.folder = ""
        self.notes: list[str] = []
        self.all_exported = False

    def words(self, statement: Sequence[Word]) -> list[str]:
        """Return the words that a statement runs; none where it only changes the shell."""
        words = [text for word in statement for text in self.values.expand(word)]
        if words and words[0] == "{" and words[-1] == "}":
            words.pop()
        while words and (words[0] in _KEYWORDS or words[0].startswith("!")):
            bare = words[0].lstrip("!@") if words[0] not in _KEYWORDS else ""
            words = [bare, *words[1:]] if bare else words[1:]
        if not words:
            return []
        head, rest = words[0], words[1:]
        if head == "for" and len(rest) > 2 and rest[1] == "in":
            self.values.own[rest[0]] = rest[2]
            if len(rest) > 3:
                self.notes.append(f"of the loop over {rest[0]} the first value, {rest[2]}, is taken")
            return []
        self._read_variables(statement, words)
        if self._sets(head, rest):
            return []
        if head.lower() in _CHANGES and rest:
            target = next((word for word in rest if word not in ("/d", "/D", "-P", "--")), "")
            self.folder = str(PurePosixPath(self.folder) / target)
            return []
        return words

    def _read_variables(self, statement: Sequence[Word], words: Sequence[str]) -> None:
        """Take over the variables of a file: `source .env`, `export $(cat .env | xargs)`."""
        asked = " ".join(piece.runs for word in statement for piece in word) if words[0] == "export" else ""
        names = words[1:2] if words[0] in ("source", ".") else re.findall(r"[\w./~-]*env[\w.-]*", asked)
        for path in (expanded(str(PurePosixPath(self.folder) / name)) for name in names):
            if path.is_file() and path.stat().st_size < _MOST_BYTES:
                text = path.read_text(encoding="utf-8", errors="replace")
                for inner in statements_of_text(text)[0]:
                    told = [text for word in inner for text in self.values.expand(word)]
                    exports = bool(asked) or told[:1] == ["export"]
                    told = told[1:] if told[:1] == ["export"] else told
                    if all(map(_ASSIGNMENT.fullmatch, told)):
                        self._export("export" if exports else "local", told)

    def _sets(self, head: str, rest: Sequence[str]) -> bool:
        """Take over the variables that a statement sets, and tell whether it does nothing else."""
        if head == "unset":
            for name in rest:
                self.values.own.pop(name, None)
                self.exported.pop(name, None)
            return True
        if head in _EXPORTS:
            self._export(head, rest)
            return True
        if head == "set":
            self._set(rest)
            return True
        pairs = [_ASSIGNMENT.fullmatch(word) for word in (head, *rest)]
        if not all(pairs):
            return False
        for pair in filter(None, pairs):
            before = self.values.own.get(pair[1], "") if pair[2] else ""
            self._assign(pair[1], before + pair[3])
        return True

    def _export(self, head: str, rest: Sequence[str]) -> None:
        words = [word for word in rest if not word.startswith("-")]
        if head in ("%env", "%set_env", "setenv") and len(words) > 1 and "=" not in words[0]:
            words = [f"{words[0]}={' '.join(words[1:])}"]
        is_export = head not in ("declare", "typeset", "local", "readonly") or "-x" in rest
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                self._assign(name, value)
            if is_export and name in self.values.own:
                self.exported[name] = self.values.own[name]

    def _set(self, rest: Sequence[str]) -> None:
        """Read cmd's `set NAME=VALUE` and fish's `set -x NAME VALUE`; bash's `set -e` sets nothing."""
        if rest and rest[0] in ("-a", "+a", "-o", "+o") and rest[-1] in ("-a", "+a", "allexport"):
            self.all_exported = rest[0].startswith("-")
        if len(rest) == 1 and (match := _ASSIGNMENT.fullmatch(rest[0])):
            self._assign(match[1], match[3])
            self.exported[match[1]] = match[3]
        elif len(rest) > 1 and rest[-2].isidentifier() and rest[0] not in ("-o", "+o"):
            self._assign(rest[-2], rest[-1])
            if any(re.fullmatch(r"-\w*x\w*|--export", word) for word in rest):
                self.exported[rest[-2]] = rest[-1]

    def _assign(self, name: str, value: str) -> None:
        self.values.own[name] = value
        if self.all_exported or name in self.exported or name in self.values.around:
            self.exported[name] = value

    def around(self, line: CommandLine, *, unset: Sequence[str]) -> CommandLine:
        """Return a command as this shell starts it."""
        hidden = [name for name in self.values.own if name not in self.exported and _COUNTS.fullmatch(name)]
        said = [f"{name} is set but not exported, so lerobot-train does not see it; write export {name}=…"
                for name in hidden if name not in line.environment]  # fmt: skip
        told = " ".join((*line.launcher_options, *line.arguments))
        said += [f"{command} is not run here: {text} stands for what it prints"
                 for text, command in self.values.stand_ins.items() if text in told]  # fmt: skip
        line = line.under(self.exported)
        folder = str(PurePosixPath(self.folder) / line.folder) if self.folder or line.folder else ""
        every = tuple(dict.fromkeys((*line.unset, *unset, *self.values.unset)))
        return replace(line, folder=folder, unset=every, notes=(*line.notes, *self.notes, *said))
