"""The words of a command that are run, and flags and variables changed in them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
# What only a shell understands, outside of quotes: lists, pipes, redirections, expansions.
_QUOTED = re.compile(r"'[^']*'|\"[^\"$`]*\"|\\.", re.DOTALL)
_OF_A_SHELL = re.compile(r"[;&|<>$`()*?~\n]")
_BUILT_IN = {"exec", "command", "cd", "source", ".", "export", "eval"}


@dataclass(frozen=True, slots=True)
class Words:
    """A command as it is run: its words, variables of its own first."""

    all: tuple[str, ...]

    @property
    def text(self) -> str:
        """The command as a shell takes it; a variable's name is never quoted."""
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.environment.items()),
                         *map(shlex.quote, self.program)])  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        """Variables that stand before the program."""
        found = map(_ASSIGNMENT.fullmatch, self.all[: self._start])
        return {match[1]: match[2] for match in found if match}

    @property
    def program(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return self.all[self._start :]

    @property
    def _start(self) -> int:
        assigned = [_ASSIGNMENT.fullmatch(word) is not None for word in self.all]
        return assigned.index(False) if False in assigned else len(assigned)

    def seen_environment(self) -> dict[str, str]:
        """Return the variables that the program gets."""
        return {**os.environ, **self.environment}

    def with_flag(self, flag: str) -> Words:
        """Return the command with `--name=value` in place of what it says of that flag, or at its end."""
        name = flag.partition("=")[0]
        kept: list[str] = []
        place = None
        skip = False
        for word in self.all:
            if skip:
                skip = False
            elif word == name or word.startswith(f"{name}="):
                place = len(kept) if place is None else place
                skip = word == name
            else:
                kept.append(word)
        kept.insert(len(kept) if place is None else place, flag)
        return Words(tuple(kept))

    def with_variables(self, variables: Mapping[str, str]) -> Words:
        """Return the command with variables before its program, in place of what it says of them there."""
        together = {**self.environment, **variables}
        return Words((*(f"{name}={value}" for name, value in together.items()), *self.program))


def words_of(command: str | Sequence[str]) -> Words:
    """Return what is run for `command`: its words, or a shell with its one text where only a shell can.

    Raises:
        ValueError: a quotation without end.
    """
    if not isinstance(command, str):
        if len(command) != 1 or " " not in command[0]:
            words = Words(tuple(command))
            is_built_in = bool(words.program) and words.program[0] in _BUILT_IN
            return Words(("sh", "-c", words.text)) if is_built_in else words
        command = command[0]
    command = command.replace("\\\n", " ").strip()
    if _OF_A_SHELL.search(_QUOTED.sub("", command)):
        return Words(("sh", "-c", command))
    return words_of([*shlex.split(command), ""][:-1])
