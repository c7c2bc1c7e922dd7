"""The flags of `lerobot-train`, written down by lerobot itself: for the tested releases in the wheel.

A table belongs to one policy and one version of lerobot. That of another release is asked of it once and kept
beside the traces, with the version of the code that wrote it. Without lerobot the newest release is meant.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actprof.errors import UsageError
from actprof.files import keep, read_kept
from actprof.policies.lerobot_versions import TESTED, lerobot_version
from actprof.trace.cache import cache_directory
from actprof.versions import UNKNOWN, code_digest, package_version

_FOLDER = Path(__file__).parent / "flags"  # `benchmarks/write_flags.py` writes it
# Parts of a config that are of one of several kinds, each with fields of its own.
_OF_KINDS = {"optimizer", "scheduler"}
# Flags that lerobot's parser reads itself.
_OF_PARSER = {"config_path", "policy.path", "reward_model.path"}


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

    def names(self) -> list[str]:
        """Return every flag, in the order of lerobot's fields."""
        return list(_names(self.defaults, ""))

    def default(self, name: str) -> Any:
        """Return the value of a flag that nobody names."""
        value: Any = self.defaults
        for part in name.split("."):
            value = value[part]
        return value

    def has(self, name: str) -> bool:
        """Tell whether lerobot may take the flag: it has it, or a part that may hold fields of its own."""
        if name in _OF_PARSER or name.endswith("discover_packages_path"):
            return True
        place: Any = self.defaults
        for position, part in enumerate(name.split(".")):
            if position and not place:
                return True  # null, or a mapping of any names
            if not isinstance(place, dict) or part not in place:
                return False
            if not position and part in _OF_KINDS:
                return True
            place = place[part]
        return True


def _names(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def flag_table(policy: str) -> FlagTable:
    """Return the table of a policy: the wheel's, else from the cache, else lerobot is imported to write it.

    Raises:
        UsageError: this lerobot has no such policy.
    """
    version = lerobot_version()
    if version in TESTED:
        tables = tables_of(version)
        if policy not in tables:
            raise UsageError(_without(policy, version))
        return tables[policy]
    return _table(policy, cache_directory() / f"lerobot-train-flags-{policy}-{reader_version()}.json")


@cache
def tables_of(version: str) -> Mapping[str, FlagTable]:
    """Return the table of each policy of a tested release."""
    text = gzip.decompress((_FOLDER / f"{version}.json.gz").read_bytes())
    return {policy: _from_json(table) for policy, table in json.loads(text).items()}


def _without(policy: str, version: str) -> str:
    said = f"lerobot {version}" if package_version("lerobot") != UNKNOWN else f"lerobot {version} (assumed)"
    having = [other for other in TESTED if policy in tables_of(other)]
    if not having:
        plain = re.sub(r"[^a-z0-9]", "", policy.lower())
        near = next((name for name in tables_of(version) if name.replace("_", "") == plain), "")
        hint = f"did you mean {near}?" if near else f"it has {', '.join(tables_of(version))}"
        return f"{said} has no policy {policy!r}; {hint}"
    return f"{said} has no policy {policy!r}; {', '.join(having)} {'has' if len(having) == 1 else 'have'} it"


def reader_version() -> str:
    """Return what a text of lerobot's depends on beside its question: lerobot, and the code that asks."""
    code = code_digest("policies/train_command.py", "policies/train_flags.py")
    return f"{package_version('lerobot')}-{code}"


@cache
def _table(policy: str, path: Path) -> FlagTable:
    known = read_kept(path, lambda text: _from_json(json.loads(text)), "table")
    if known is not None:
        return known
    from actprof.policies.train_command import describe_fields

    data = describe_fields(policy)
    keep(path, json.dumps(data).encode(), "the flags of lerobot-train")
    return FlagTable(**data)


def _from_json(data: Mapping[str, Any]) -> FlagTable:
    return FlagTable(dict(data["types"]), dict(data["defaults"]), tuple(data["checked"]))
