"""Paths of a command as this machine knows them: those of a container's mounts, and after `cd FOLDER &&`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from actprof.training_command.command_line import CommandLine, expanded

# Flags whose value is a path; of the first kind never a repository's name.
_FOLDERS = ("dataset.root", "output_dir", "config_path")
_MAY_BE_REPOSITORIES = ("policy.path", "policy.pretrained_path", "reward_model.path")
_VARIABLES = ("HF_HOME", "HF_LEROBOT_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")


def on_this_machine(line: CommandLine) -> CommandLine:
    """Return a command whose paths are this machine's."""
    if not line.folder and not line.mounts:
        return line
    arguments = list(line.arguments)
    for position, word in enumerate(arguments):
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in (*_FOLDERS, *_MAY_BE_REPOSITORIES):
            continue
        if equals:
            arguments[position] = f"--{name}={_here(value, line, sure=name in _FOLDERS)}"
        elif position + 1 < len(arguments):
            arguments[position + 1] = _here(arguments[position + 1], line, sure=name in _FOLDERS)
    environment = {
        name: _inside(value, line.mounts) if name in _VARIABLES else value
        for name, value in line.environment.items()
    }
    return replace(line, arguments=tuple(arguments), environment=environment)


def _here(value: str, line: CommandLine, *, sure: bool) -> str:
    """Return a path as this machine has it; a repository's name is left alone."""
    is_relative = bool(value) and not value.startswith(("/", "~", "$", "\\")) and value[1:2] != ":"
    if not is_relative:
        return _inside(value, line.mounts)
    path = _inside(str(PurePosixPath(line.folder) / value), line.mounts)
    return path if sure or value.startswith(".") or expanded(path).exists() else value


def _inside(path: str, mounts: Sequence[tuple[str, str]]) -> str:
    """Return where a path of a container is outside."""
    for here, inside in sorted(mounts, key=lambda pair: -len(pair[1])):
        target = inside.rstrip("/") or "/"
        if here.startswith(("/", ".", "~")) and (path == target or path.startswith(f"{target.rstrip('/')}/")):
            return here.rstrip("/") + path[len(target.rstrip("/")) :]
    return path
