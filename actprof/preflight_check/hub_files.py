"""Small files of the Hub's repositories, above all a pretrained policy's `config.json`; never weights.

A config comes from the folder that is named, else from the run's own Hugging Face cache, else from the Hub,
else from what a policy's file has written down of it (`PolicySpec.bases`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actprof.errors import UnknownAnswerError, UsageError
from actprof.policies import policy_names, policy_spec
from actprof.policies.train_command import HUB_SECONDS, hub_answers
from actprof.training_command.command_line import expanded, hugging_face_home

CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class PretrainedConfig:
    """The config of a pretrained policy, `type` included, and which one it is in words; empty: a folder's."""

    values: Mapping[str, Any]
    source: str


def pretrained_config(name: str, revision: str | None, environment: Mapping[str, str]) -> PretrainedConfig:
    """Return the config of the policy that `--policy.path=NAME` means for a run in `environment`.

    Raises:
        UsageError: the folder is here and has no config that can be read.
        UnknownAnswerError: it is a folder of another machine, or a repository that cannot be reached and that
            nobody has written down; says what to do.
    """
    folder = expanded(name)
    if folder.is_dir():
        return _read(folder / CONFIG, "")
    if is_a_path(name):
        raise UnknownAnswerError(
            f"--policy.path={name} is not on this machine; copy its {CONFIG} into a folder here and name "
            "that, or say --policy.type and the fields that differ from lerobot's defaults"
        )
    cache = hub_cache(environment)
    for path in snapshots(cache, f"models--{name.replace('/', '--')}", revision):
        if (path / CONFIG).is_file():
            return _read(path / CONFIG, "the one in the Hugging Face cache")
    fetched = from_hub(name, CONFIG, "model", revision, environment)
    if fetched is not None:
        return _read(fetched, "the one on the Hub")
    for policy in policy_names():
        written = policy_spec(policy).bases.get(name)
        if written is not None:
            return PretrainedConfig({"type": policy, **written}, "the one that actprof has written down")
    raise UnknownAnswerError(
        f"{name} is neither a folder here, nor in the Hugging Face cache, nor to be had from the Hub; fetch "
        f"its config with `hf download {name} {CONFIG}` where there is a connection, or say --policy.type, "
        f"--policy.pretrained_path={name} and the fields that differ from lerobot's defaults"
    )


def is_a_path(name: str) -> bool:
    """Tell whether a text names a folder or a file, as the Hub has no repository of that name."""
    return name.startswith(("/", "~", ".", "$")) or name.count("/") != 1 or "\\" in name


def _read(path: Path, source: str) -> PretrainedConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}; it must be the config of a policy") from error
    if not isinstance(values, dict) or not isinstance(values.get("type"), str):
        raise UsageError(f"{path} is not the config of a policy: it names no type")
    return PretrainedConfig(values, source)


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder in which huggingface_hub keeps what it has fetched."""
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    return expanded(named) if named else hugging_face_home(environment) / "hub"


def snapshots(cache: Path, folder: str, revision: str | None) -> list[Path]:
    """Return a repository's snapshots in a cache: that of the revision, else the newest first."""
    place = cache / folder / "snapshots"
    if revision:
        reference = cache / folder / "refs" / revision
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
        return [place / commit]
    found = [path for path in place.glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def from_hub(
    repo_id: str, file: str, kind: str, revision: str | None, environment: Mapping[str, str]
) -> Path | None:
    """Return a copy of a file of a repository (`model` or `dataset`), or None if not had in a few seconds."""
    if not hub_answers(environment):
        return None
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:  # it comes with lerobot
        return None
    asked: dict[str, Any] = {"repo_type": kind, "revision": revision, "etag_timeout": HUB_SECONDS}
    try:
        return Path(hf_hub_download(repo_id, file, **asked))
    except Exception:  # noqa: BLE001 - no connection, no such file, not ours to see: the next answer says so
        return None
