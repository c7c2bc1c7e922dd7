"""The flags of `lerobot-train`, written down once by lerobot and kept beside the traces.

A table belongs to one policy, one version of lerobot and of the code that writes it; a file that cannot be
read is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actprof.files import keep, read_kept
from actprof.trace.cache import cache_directory
from actprof.versions import code_digest, package_version


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
    known = read_kept(path, _parse, "table")
    if known is not None:
        return known
    from actprof.policies.train_command import describe_fields

    data = describe_fields(policy)
    keep(path, json.dumps(data).encode(), "the flags of lerobot-train")
    return FlagTable(**data)


def _parse(text: bytes) -> FlagTable:
    data = json.loads(text)
    return FlagTable(dict(data["types"]), dict(data["defaults"]), tuple(data["checked"]))
