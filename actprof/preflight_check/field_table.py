"""lerobot's flags with their types and defaults, written down once by lerobot and kept beside the traces.

The table spares most commands lerobot's import. It belongs to one version of lerobot and of the code that
writes it; a file that cannot be read is written again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from actprof.errors import StoreError
from actprof.files import write_whole
from actprof.trace.cache import cache_directory
from actprof.versions import code_digest, package_version

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The flags of `lerobot-train --policy.type=act`.

    Attributes:
        types: flag without dashes to `int`, `float`, `bool`, `str` or `Path`, with a `?` when it may be null;
            flags of other types are not in it.
        defaults: the whole config as nested JSON values; `dataset.repo_id` is None, as it has no default.
    """

    types: Mapping[str, str]
    defaults: Mapping[str, Any]


def field_table() -> FieldTable:
    """Return the table from the cache; the first time lerobot is imported to write it."""
    path = _path()
    return _load(path) or _build(path)


def is_cached() -> bool:
    """Tell whether the table can be had without lerobot."""
    return _load(_path()) is not None


def _path() -> Path:
    key = f"{package_version('lerobot')}-{code_digest('policies/train_command.py')}"
    return cache_directory() / f"lerobot-train-flags-{key}.json"


def _build(path: Path) -> FieldTable:
    from actprof.policies.train_command import describe_fields

    data = describe_fields()
    try:
        write_whole(path, json.dumps(data).encode())
    except StoreError as error:
        _log.warning("the flags of lerobot-train could not be cached: %s", error)
    return FieldTable(data["types"], data["defaults"])


def _load(path: Path) -> FieldTable | None:
    try:
        return _load_file(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4)
def _load_file(path: Path, _stamp: int) -> FieldTable | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return FieldTable(dict(data["types"]), dict(data["defaults"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("the cached table %s is damaged and will be written again (%s)", path, error)
        return None
