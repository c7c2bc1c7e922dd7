"""The user's own cards: `gpus.toml` in the configuration folder, in the form of the shipped files.

    [[gpu]]
    name = "Lab card"
    capacity = "47.4GiB"
    compute_capability = "8.6"
    multiprocessors = 84

Every figure but the capacity may be left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actprof.errors import UsageError
from actprof.files import config_folder

_FORM = 'write [[gpu]] with name = "…" and capacity = "23.5GiB" below it'


def own_file() -> Path:
    """Return where the user's own cards are described, if they are."""
    return config_folder() / "gpus.toml"


def shown_path(path: Path) -> str:
    """Return a path as people write it: with `~` for their home."""
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):  # elsewhere, or nobody's home
        return str(path)


def own_entries(path: str) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a user's file by the names of their cards.

    Raises:
        UsageError: the file is no TOML, or does not have that form; says file and entry.
    """
    shown = shown_path(Path(path))
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown} is no TOML: {error}; {_FORM}") from error
    unknown = [key for key in data if key != "gpu"]
    if unknown:
        raise UsageError(f"{shown}: {unknown[0]!r} means nothing at the top of the file; {_FORM}")
    given = data.get("gpu", [])
    if not isinstance(given, list):
        raise UsageError(f"{shown}: gpu is no list of tables; {_FORM}")
    entries: dict[str, Mapping[str, Any]] = {}
    for place, entry in enumerate(given, start=1):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"{shown}: entry {place} of [[gpu]] has no name; {_FORM}")
        if name in entries:
            raise UsageError(f"{shown}: GPU {name!r} stands there twice; leave one")
        entries[name] = {key: value for key, value in entry.items() if key != "name"}
    return entries
