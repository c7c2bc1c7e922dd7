"""A whole command read by the flag tables, where no lerobot is here or where lerobot refuses a saved field.

Values are taken as they stand: beside types and the usual slips nothing is found that lerobot's checks would
refuse.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from actprof.errors import UsageError, did_you_mean
from actprof.policies.lerobot_versions import lerobot_version
from actprof.preflight_check.flag_table import FlagTable, flag_table
from actprof.preflight_check.hub_files import pretrained_config
from actprof.preflight_check.other_releases import MOVED, left_out
from actprof.preflight_check.read_by_hand import UnsureError, pairs, passes_together, typed_value

_POWER = re.compile(r"[+-]?\d+(?:\.\d*)?[eE][+-]?\d+")  # YAML 1.1 reads `1e-3` as a text
_REFUSED = "lerobot-train refuses this command: "


def read_by_tables(
    arguments: Sequence[str], environment: Mapping[str, str], *, may_exist: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the config of a command, as `read_train_command`, and what is said of fields that are left out.

    Raises:
        UsageError: lerobot would refuse the command.
        UnknownAnswerError: a file that it names cannot be had.
    """
    try:
        texts = pairs(arguments)
    except UnsureError as error:
        raise UsageError(
            f"{_REFUSED}it is not one --flag=value after the other, by {_stray(arguments)!r}"
        ) from error
    saved = saved_config(texts["config_path"]) if "config_path" in texts else {}
    said: list[str] = []
    if {"policy.path", "policy.type"} <= set(texts):
        raise UsageError(f"{_REFUSED}Cannot specify both --policy.path and --policy.type\nleave out the type")
    path = texts.pop("policy.path", None)
    found = None if path is None else pretrained_config(path, None, environment)
    own = dict(found.values if found else saved.get("policy") or {})
    policy = str(texts.pop("policy.type", "") or own.get("type") or "")
    if not policy:
        raise UsageError(f"{_REFUSED}it names no policy; add --policy.type or --policy.path")
    table = flag_table(policy)
    config = copy.deepcopy(dict(table.defaults))
    _merge(config, {**migrated(saved, table), "policy": own}, "", (table, policy, said))
    if found and path:
        config |= {"policy_config_from": found.source}
        config["policy"]["pretrained_path"] = path
    asked = {**(saved.get("optimizer") or {})}
    for name, text in texts.items():
        if name.startswith("optimizer."):
            asked[name.removeprefix("optimizer.")] = _yaml(text)
        elif name != "config_path":
            _put(config, name, _value(name, text, table))
    config["optimizer_flags"] = [name[10:] for name in texts if name.startswith("optimizer.")]
    _settle(config, asked, texts)
    _refuse(config, may_exist=may_exist)
    return config, tuple(said)


def _stray(arguments: Sequence[str]) -> str:
    """Return the first word that is neither a flag nor the value of one."""
    takes = False
    for word in arguments:
        is_flag = word.startswith("--") and len(word) > 2
        if not is_flag and not takes:
            return word
        takes = is_flag and "=" not in word
    return arguments[-1] if arguments else ""


def saved_config(path: str) -> dict[str, Any]:
    """Return what a `train_config.json` says; `path` may be its folder.

    Raises:
        UsageError: it cannot be read.
    """
    file = Path(path) / "train_config.json" if Path(path).is_dir() else Path(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{_REFUSED}{path} cannot be read ({error}); name a train_config.json") from error
    if not isinstance(data, dict):
        raise UsageError(f"{_REFUSED}{path} holds no config; name a train_config.json")
    return data


def migrated(saved: Mapping[str, Any], table: FlagTable) -> dict[str, Any]:
    """Return a saved config as lerobot reads it from 0.6.0 on: sample weighting by its new name."""
    old = {name: saved[name] for name in MOVED if name in saved and not table.has(name)}
    weighs = {"sample_weighting": {"type": "rabc"}} if old.get("use_rabc") else {}
    return {**weighs, **{name: value for name, value in saved.items() if name not in old}}


def unknown_fields(values: Mapping[str, Any], table: FlagTable, prefix: str = "") -> Iterator[str]:
    """Yield the fields of a config, as lerobot reads it, that no flag of the table stands for."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if not table.has(name):
            yield name
        elif isinstance(value, dict):
            yield from unknown_fields(value, table, f"{name}.")


def _merge(
    config: dict[str, Any], values: Mapping[str, Any], prefix: str, about: tuple[FlagTable, str, list[str]]
) -> None:
    table, policy, said = about
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name == "policy.type" or table.has(name):
            usual = config.get(key)
            if isinstance(value, dict) and isinstance(usual, dict) and usual and name != "optimizer":
                _merge(usual, value, f"{name}.", about)
            else:
                config[key] = value
        elif sentence := left_out(name, policy):
            said.append(sentence)
        else:
            raise UsageError(f"{_REFUSED}lerobot {lerobot_version()} has no field {name!r}")


def _value(name: str, text: str, table: FlagTable) -> Any:
    if not table.has(name):
        near = did_you_mean(f"--{name}", *(f"--{known}" for known in table.names()), most=2)
        raise UsageError(f"{_REFUSED}unrecognized arguments: --{name}={text}" + (f"\n{near}" if near else ""))
    if name not in table.types:
        return _yaml(text)
    try:
        return typed_value(text, table.types[name])
    except UnsureError:
        value = _yaml(text)
    if table.types[name].removesuffix("?") in ("str", "Path"):
        return None if value is None and table.types[name].endswith("?") else text
    kind = table.types[name].removesuffix("?")
    raise UsageError(f"{_REFUSED}--{name}={text} is not of the type {kind}")


def _yaml(text: str) -> Any:
    try:
        return float(text) if _POWER.fullmatch(text) else yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _put(config: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    place = config
    for part in path:
        if not isinstance(place.get(part), dict):
            place[part] = {}
        place = place[part]
    place[last] = value


def _settle(config: dict[str, Any], asked: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Do what `TrainPipelineConfig.validate` does: the preset's optimizer, a resumed run's checkpoint."""
    config["optimizer_asked"] = dict(asked) or None
    if asked and (config["resume"] or not config["use_policy_training_preset"]):
        config["optimizer"] = dict(asked)
        config["optimizer_default"] = {"type": asked.get("type")}
    if config["resume"] and "config_path" in texts:
        path = Path(texts["config_path"])
        config["policy"]["pretrained_path"] = str(path if path.is_dir() else path.parent)


def _refuse(config: Mapping[str, Any], *, may_exist: bool) -> None:
    """Stop where lerobot would, at the slips that are made most."""
    policy, output = config["policy"], config["output_dir"]
    if not config["dataset"]["repo_id"]:
        raise UsageError(f"{_REFUSED}it names no dataset; add --dataset.repo_id")
    if output is not None and not may_exist and not config["resume"] and Path(output).is_dir():
        raise UsageError(
            f"{_REFUSED}Output directory {output} already exists and resume is False\n"
            "name another --output_dir, or remove the folder"
        )
    if passes_together(config):
        return
    steps = policy.get("n_action_steps", 0)
    if steps > (chunk := policy.get("chunk_size", steps)):
        raise UsageError(
            f"{_REFUSED}the chunk size {chunk} is the upper bound for the number of action steps, not "
            f"{steps}\nset --policy.n_action_steps to at most the chunk size"
        )
    if policy["push_to_hub"] and not policy["repo_id"]:
        raise UsageError(
            f"{_REFUSED}it would push to the Hub and names no repository\n"
            "add --policy.push_to_hub=false, or --policy.repo_id=NAME/REPOSITORY"
        )
    raise UsageError(f"{_REFUSED}--eval.batch_size is more than --eval.n_episodes")
