"""A command line taken apart: what `lerobot-train` itself is given, and what stands around it.

`Given` is what the user tells preflight beside it. How a text becomes a `CommandLine`: `unwrap.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

SHAPES = ("cameras", "resolution", "state_dim", "action_dim")
# What says where this machine keeps files: it counts even where the run has an environment of its own.
_PLACES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_LEROBOT_HOME", "XDG_CACHE_HOME", "HOME",
           "HF_HUB_OFFLINE", "HF_ENDPOINT")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One command.

    Attributes:
        arguments: what stands after `lerobot-train`; paths in them are this machine's.
        launcher: `accelerate`, `torchrun` or empty.
        launcher_options: what stands between the two.
        environment: variables that the command itself sets.
        isolated: it runs where this process's variables do not arrive (a container, another machine, sudo),
            but for those `passed` on by name.
        elsewhere: the program that takes it to another machine, like `ssh`; or empty.
        flavour: the Hugging Face Jobs machine that it names; or empty.
        folder: in which it runs; empty: this one.
        shm_bytes: of the /dev/shm that a container gets which the command starts; None: not its own.
        mounts: (folder here, its name where the command runs).
        unset: variables of a shell's text that nothing sets.
        notes: what was made of it, in sentences.
        mended: why it would not run as it is written, in sentences.
    """

    text: str
    arguments: tuple[str, ...]
    launcher: str = ""
    launcher_options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    isolated: bool = False
    passed: tuple[str, ...] = ()
    elsewhere: str = ""
    flavour: str = ""
    folder: str = ""
    shm_bytes: int | None = None
    mounts: tuple[tuple[str, str], ...] = ()
    unset: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()

    def seen_environment(self, around: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that the run sees: those `around` it (this process's), and its own."""
        around = os.environ if around is None else around
        arriving = {name: text for name, text in around.items() if self._arrives(name) or name in _PLACES}
        return {**arriving, **self.environment}

    def under(self, environment: Mapping[str, str]) -> CommandLine:
        """Return this command where `environment` is set around it; what it sets itself counts more."""
        arriving = {name: text for name, text in environment.items() if self._arrives(name)}
        return replace(self, environment={**arriving, **self.environment})

    def _arrives(self, name: str) -> bool:
        return not self.isolated or name in self.passed


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

    Whatever may stand around `lerobot-train` is read: variables, `cd X &&`, `accelerate launch`, `uv run`,
    `docker run`, `bash -c`, a notebook's `!`, and so on; `lerobot-train` may also be a path or a module.

    Raises:
        UsageError: it does not run lerobot-train, or in a way that is not known.
    """
    from actprof.training_command.unwrap import unwrap  # it makes `CommandLine`s

    return unwrap(command)


def expanded(path: str) -> Path:
    """Return a path with the home folder for its `~`; that of an unknown user is left as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises where there is no such user


def hugging_face_home(environment: Mapping[str, str]) -> Path:
    """Return the folder in which Hugging Face's libraries keep their files."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(environment.get("HF_HOME") or f"{cache}/huggingface")
