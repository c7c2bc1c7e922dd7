"""The flags of `lerobot-train`, written down once by lerobot and kept beside the traces.

A table belongs to one policy, one version of lerobot and of the code that writes it; a file that cannot be
read is written again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actprof.errors import StoreError
from actprof.files import write_whole
from actprof.trace.cache import cache_directory
from actprof.versions import code_digest, package_version

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FlagTable:
    """The flags of `lerobot-train --policy.type=POLICY`.

    Attributes:
        types: flag without dashes to `int`, `float`, `bool`, `str` or `Path`, with a `?` when it may be null;
            flags of other types are not in it.
        defaults: the whole config as nested JSON values; `dataset.repo_id` is None, as it has no default.
        checked: flags that the policy's own checks look at.
    """

    types: Mapping[str, str]
    defaults: Mapping[str, Any]
    checked: tuple[str, ...]


def flag_table(policy: str) -> FlagTable:
    """Return the table of a policy from the cache; the first time lerobot is imported to write it."""
    return _table(policy, cache_directory() / f"lerobot-train-flags-{policy}-{reader_version()}.json")


def reader_version() -> str:
    """Return what a text of lerobot's depends on beside its question: lerobot, and the code that asks."""
    code = code_digest("policies/train_command.py", "policies/train_flags.py")
    return f"{package_version('lerobot')}-{code}"


@cache
def _table(policy: str, path: Path) -> FlagTable:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return FlagTable(dict(data["types"]), dict(data["defaults"]), tuple(data["checked"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("the cached table %s is damaged and will be written again (%s)", path, error)
    from actprof.policies.train_command import describe_fields

    data = describe_fields(policy)
    try:
        write_whole(path, json.dumps(data).encode())
    except StoreError as error:
        _log.warning("the flags of lerobot-train could not be cached: %s", error)
    return FlagTable(**data)
