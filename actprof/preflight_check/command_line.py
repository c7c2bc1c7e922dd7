"""Take a command line apart: environment prefixes, launchers, and what `lerobot-train` itself is given.

`Given` is what the user tells preflight beside it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from actprof.errors import UsageError

TRAIN_NAMES = {"lerobot-train", "lerobot_train", "lerobot_train.py"}
TRAIN_MODULES = {"lerobot.scripts.lerobot_train", "lerobot.scripts.train"}
_LAUNCHERS = {
    "accelerate": "accelerate", "accelerate-launch": "accelerate", "accelerate.commands.launch": "accelerate",
    "torchrun": "torchrun", "torch.distributed.run": "torchrun",
}  # fmt: skip
_WRAPPERS = {
    "env", "uv", "uvx", "run", "poetry", "pixi", "pdm", "hatch", "conda", "mamba", "nohup", "time", "exec",
    "nice", "srun", "stdbuf", "command",
}  # fmt: skip
_PYTHON = re.compile(r"python(\d(\.\d+)?)?")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
SHAPES = ("cameras", "resolution", "state_dim", "action_dim")
_HINT = "write it as you would run it: lerobot-train --policy.type=act --dataset.repo_id=…"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One command.

    Attributes:
        arguments: what stands after `lerobot-train`.
        launcher: `accelerate`, `torchrun` or empty.
        launcher_options: what stands between the two.
        environment: variables that the command itself sets.
    """

    text: str
    arguments: tuple[str, ...]
    launcher: str = ""
    launcher_options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def seen_environment(self, around: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that the run sees: those `around` it (this process's), and its own."""
        return {**(os.environ if around is None else around), **self.environment}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command itself does not say; None: not given.

    Attributes:
        gpu: the card that it is to run on; that of `--job.target`, else the one in this machine as it is now,
            if left out.
        capacity: its memory, like `23.69GiB`.
        used_by_others: what other programs hold of a card that is not here.
        cameras: how many, where the dataset's metadata is not at hand or others are meant.
        resolution: of each of them.
        state_dim, action_dim: lengths of the robot's state and of one action, likewise.
        load_seconds: from one batch to the next, as `measure_loader` finds; loading is left out otherwise.
        price_per_hour: dollars, of the machine; that of `--job.target` if left out.
    """

    gpu: str | None = None
    capacity: str | None = None
    used_by_others: str | None = None
    cameras: int | None = None
    resolution: str | None = None
    state_dim: int | None = None
    action_dim: int | None = None
    load_seconds: float | None = None
    price_per_hour: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the dataset need be known."""
        return None not in (getattr(self, name) for name in SHAPES)


def parse_command_line(command: str | Sequence[str]) -> CommandLine:
    """Return the parts of `command`, one text for a shell or its words.

    `VAR=value`, `env`, `uv run`, `python -m`, `accelerate launch`, `torchrun` and the like may stand before
    `lerobot-train`, which may also be a path or a module.

    Raises:
        UsageError: it does not run lerobot-train, or in a way that is not known.
    """
    words = _words(command)
    start = _program(words)
    line = CommandLine(text=shlex.join(words), arguments=tuple(words[start + 1 :]))
    environment: dict[str, str] = {}
    for position, word in enumerate(words[:start]):
        if match := _ASSIGNMENT.fullmatch(word):
            environment[match[1]] = match[2]
        elif launcher := _LAUNCHERS.get(PurePath(word).name):
            options = tuple(words[position + 1 : start])
            line = replace(line, launcher=launcher, launcher_options=options)
            break
        elif not _is_wrapper(word, words[:position]):
            raise UsageError(f"{word!r} before lerobot-train is not known; {_HINT}")
    return replace(line, environment=environment)


def _words(command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        if len(command) != 1 or " " not in command[0]:
            return list(command)
        command = command[0]  # a whole command in quotes
    try:
        return shlex.split(command.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"the command cannot be taken apart ({error}); {_HINT}") from error


def _program(words: Sequence[str]) -> int:
    """Return the position of the word after which lerobot's arguments begin."""
    for position, word in enumerate(words):
        after_m = position > 0 and words[position - 1] in ("-m", "--module")
        if (after_m and word in TRAIN_MODULES) or PurePath(word).name in TRAIN_NAMES:
            return position
    if not words:
        raise UsageError(f"there is no command; {_HINT}")
    if words[0].startswith("-"):
        raise UsageError(f"the command begins with {words[0]!r}; {_HINT}")
    raise UsageError(f"{shlex.join(words[:4])!r} does not run lerobot-train; {_HINT}")


def _is_wrapper(word: str, before: Sequence[str]) -> bool:
    """Tell whether `word` only starts what follows: a wrapper, or an option of one with its value."""
    name = PurePath(word).name
    is_option = bool(before) and (word.startswith("-") or before[-1].startswith("-"))
    return is_option or name in _WRAPPERS or bool(_PYTHON.fullmatch(name))


def hugging_face_home(environment: Mapping[str, str]) -> Path:
    """Return the folder in which Hugging Face's libraries keep their files."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("HF_HOME") or f"{cache}/huggingface").expanduser()
