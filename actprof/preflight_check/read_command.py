"""From the arguments of `lerobot-train` to a `TrainingRun`: by hand where that is sure, else by lerobot.

Reading by hand spares lerobot's import of ten seconds. What only lerobot can read of a command (fields that a
policy checks, a pretrained policy's config, an adapter) it is asked once: its answer is kept beside the
traces, for these flags and the files that they name, and all other flags may change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actprof.errors import ActprofError, UnknownAnswerError, UsageError
from actprof.files import keep
from actprof.policies import policy_names
from actprof.policies.lerobot_versions import TESTED, lerobot_version
from actprof.preflight_check.flag_table import flag_table, reader_version, tables_of
from actprof.preflight_check.hub_files import PretrainedConfig, is_a_path, pretrained_config
from actprof.preflight_check.named_values import flag_values, last_of_each
from actprof.preflight_check.other_releases import left_out, without_others
from actprof.preflight_check.read_by_hand import (
    UnsureError,
    checked_value,
    pairs,
    passes_together,
    with_values,
)
from actprof.preflight_check.read_by_tables import migrated, read_by_tables, saved_config, unknown_fields
from actprof.preflight_check.training_run import TrainingRun, training_run
from actprof.processes.child import tell
from actprof.trace.cache import cache_directory
from actprof.training_command.command_line import expanded
from actprof.versions import UNKNOWN, package_version

_NO_PUSH = "--policy.push_to_hub=false"
_PUSHES = (
    "it would push to the Hub and names no repository: add --policy.push_to_hub=false, or "
    "--policy.repo_id=NAME/REPOSITORY"
)
_EXISTS = "its output folder is there already: name another --output_dir, or remove the folder"
_SLIPS = ("push", "already exists")  # in lerobot's words on these two
_NAMES_A_PATH = re.compile(r"\bpath\b")


def read_command(
    arguments: Sequence[str], *, may_exist: bool = False, environment: Mapping[str, str] | None = None
) -> TrainingRun:
    """Return what `lerobot-train ARGUMENTS` would train; raises as `read_with_lerobot`.

    With `may_exist` an output folder that is there already is not refused, as lerobot does. In the run's
    `environment` (this process's if left out) its Hugging Face cache is found. What lerobot refuses for its
    output folder or for want of a repository is read all the same, and `refused` says so.
    """
    _find_config(arguments)
    seen = os.environ if environment is None else environment
    policy = _named_policy(arguments, seen)
    words, said = without_others(last_of_each(arguments), policy) if policy else (list(arguments), ())
    for given, exists, refused in _forgiven(words, may_exist=may_exist):  # first, as lerobot takes long
        if run := read_quickly(given, may_exist=exists, environment=environment):
            return replace(run, left_out=said, refused=refused)
    first: UsageError | None = None
    by_tables = package_version("lerobot") == UNKNOWN or (policy and _saved_elsewhere(words, policy))
    for given, exists, refused in _forgiven(words, may_exist=may_exist):
        try:
            if by_tables:
                config, fields = read_by_tables(given, seen, may_exist=exists)
                run, more = _run(config), fields
            else:
                run, more = read_with_lerobot(given, may_exist=exists, environment=environment), ()
        except UsageError as error:
            first = first or error
            if not any(text in str(error) for text in _SLIPS):
                break
        else:
            return replace(run, left_out=(*said, *more), refused=refused)
    raise first or AssertionError


def _forgiven(
    words: Sequence[str], *, may_exist: bool
) -> Iterator[tuple[Sequence[str], bool, tuple[str, ...]]]:
    """Yield (the command, whether its folder may be there, what of it lerobot would refuse)."""
    kept = last_of_each([*words, _NO_PUSH])
    yield words, may_exist, ()
    yield kept, may_exist, (_PUSHES,)
    if not may_exist:
        yield _without_folder(words), True, (_EXISTS,)
        yield _without_folder(kept), True, (_PUSHES, _EXISTS)


def _without_folder(words: Sequence[str]) -> list[str]:
    """Return a command whose output folder is lerobot's own choice, which is a new one."""
    return last_of_each([*words, "--output_dir=null"])[:-1]


def _named_policy(arguments: Sequence[str], seen: Mapping[str, str]) -> str:
    """Return the type of a command's policy, if a tested lerobot has it and it can be told beforehand."""
    flags = flag_values(arguments)
    policy = flags.get("policy.type", "")
    with contextlib.suppress(ActprofError):
        if not policy and "policy.path" in flags:
            policy = str(pretrained_config(flags["policy.path"], None, seen).values["type"])
        elif not policy and "config_path" in flags:
            saved = saved_config(flags["config_path"]).get("policy")
            policy = str(saved.get("type", "")) if isinstance(saved, dict) else ""
    return policy if any(policy in tables_of(version) for version in TESTED) else ""


def _saved_elsewhere(arguments: Sequence[str], policy: str) -> bool:
    """Tell whether a command's saved config has fields that this lerobot has not, and another has."""
    path = flag_values(arguments).get("config_path")
    if not path or not Path(path).exists():
        return False
    table = flag_table(policy)
    with contextlib.suppress(ActprofError):
        names = unknown_fields(migrated(saved_config(path), table), table)
        return any(left_out(name, policy) for name in names)
    return False


def _find_config(arguments: Sequence[str]) -> None:
    """Stop at a saved config that is not on this machine, before lerobot takes it for a repository.

    Raises:
        UnknownAnswerError: it is a folder or a file of another machine.
    """
    path = flag_values(arguments).get("config_path", "")
    names_a_folder = "/" in path or "\\" in path  # lerobot's own words do for a bare file's name
    if names_a_folder and is_a_path(path) and not expanded(path).exists():
        raise UnknownAnswerError(
            f"--config_path={path} is not on this machine; copy the train_config.json of that run here and "
            "name it, or give the command itself"
        )


def read_with_lerobot(
    arguments: Sequence[str], *, may_exist: bool = False, environment: Mapping[str, str] | None = None
) -> TrainingRun:
    """Return what lerobot's own parser makes of the command, and remember what was asked of it.

    Raises:
        UsageError: lerobot refuses it; the message is lerobot's own.
        UnknownAnswerError: it names a file on the Hub that cannot be had.
    """
    from actprof.policies.train_command import read_train_command

    found: list[PretrainedConfig] = []

    def config_of(name: str, revision: str | None) -> Mapping[str, Any]:
        found.append(pretrained_config(name, revision, os.environ if environment is None else environment))
        return found[-1].values

    tell("importing lerobot, which alone can read this command: about a quarter of a minute")
    try:
        config = read_train_command(arguments, may_exist=may_exist, config_of=config_of)
    finally:
        tell("")
    config["policy_config_from"] = found[-1].source if found else ""
    with contextlib.suppress(UnsureError, ActprofError):
        split = _split(arguments, environment)
        if split.asked:
            said = read_train_command(split.least(), may_exist=True, config_of=config_of)
            split.remember({**said, "policy_config_from": config["policy_config_from"]})
    return _run(config)


def read_quickly(
    arguments: Sequence[str], *, may_exist: bool = False, environment: Mapping[str, str] | None = None
) -> TrainingRun | None:
    """Return what the command means without lerobot, or None where only lerobot knows.

    The first time on a machine lerobot is imported to write down the policy's flags.
    """
    try:
        split = _split(arguments, environment)
        config = with_values(split.said(), split.by_hand)
    except (UnsureError, ActprofError):
        return None
    there = not may_exist and config["output_dir"] is not None and Path(config["output_dir"]).is_dir()
    if (there and not config["resume"]) or not passes_together(config):
        return None
    return _run(config)


def _run(config: Mapping[str, Any]) -> TrainingRun:
    policy = (config["policy"] or {}).get("type")
    return training_run(config, flag_table(policy).defaults if policy in policy_names() else config)


@dataclass(frozen=True, slots=True)
class _Split:
    """The flags of a command: those that are read by hand, and those that lerobot was asked about.

    Attributes:
        policy: of `--policy.type`; empty where another file names it.
        by_hand: flag -> value; no check of lerobot's looks at it together with another.
        asked: flag -> text.
        files: what the files say that lerobot would read.
    """

    policy: str
    by_hand: Mapping[str, Any]
    asked: Mapping[str, str]
    files: tuple[str, ...]

    def least(self) -> list[str]:
        """Return the smallest command with the flags that lerobot is asked about."""
        words = {**self.asked, **({"policy.type": self.policy} if self.policy else {})}
        if self.policy:
            words.setdefault("policy.push_to_hub", "false")
        if "config_path" not in words:
            words.setdefault("dataset.repo_id", "a/b")
        return [f"--{name}={text}" for name, text in words.items()]

    def said(self) -> Mapping[str, Any]:
        """Return what lerobot once said of the flags that it was asked about."""
        if not self.asked:
            return flag_table(self.policy).defaults
        try:
            said = json.loads(self._path().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UnsureError from error
        if not isinstance(said, dict):
            raise UnsureError
        return said

    def remember(self, said: dict[str, Any]) -> None:
        """Keep what lerobot said of the flags that it was asked about."""
        if self.policy and "policy.push_to_hub" not in self.asked:
            said["policy"]["push_to_hub"] = flag_table(self.policy).defaults["policy"]["push_to_hub"]
        keep(self._path(), json.dumps(said).encode(), "what lerobot-train makes of the command")

    def _path(self) -> Path:
        identity = [self.policy, sorted(self.asked.items()), self.files, reader_version()]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return cache_directory() / f"lerobot-train-said-{digest[:20]}.json"


def _split(arguments: Sequence[str], environment: Mapping[str, str] | None) -> _Split:
    if lerobot_version() not in TESTED:
        raise UnsureError
    texts = pairs(arguments)
    policy, files = texts.pop("policy.type", ""), _files(texts, environment)
    if any(name.endswith("discover_packages_path") for name in texts):
        raise UnsureError  # code that may register anything
    if (policy not in policy_names() if policy else not files) or not (
        {"dataset.repo_id", "config_path"} & set(texts)
    ):
        raise UnsureError
    table = flag_table(policy or policy_names()[0])
    by_hand: dict[str, Any] = {}
    for name, text in texts.items():
        # Without a type lerobot hands the policy's flags to the config that it reads from a file.
        if policy or not name.startswith("policy."):
            with contextlib.suppress(UnsureError):
                by_hand[name] = checked_value(name, text, table, policy)
    if any(
        name.startswith(("policy.", "rename_map", "config_path")) for name in texts.keys() - by_hand.keys()
    ):
        for name in (*table.checked, "policy.pretrained_path"):  # may be looked at together with those
            by_hand.pop(name, None)
    asked = {name: text for name, text in texts.items() if name not in by_hand}
    return _Split(policy, by_hand, asked, files)


def _files(texts: Mapping[str, str], environment: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return what the files of a command say: a saved config, and that of a pretrained policy."""
    found = []
    if "config_path" in texts:
        try:
            found.append(Path(texts["config_path"]).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UnsureError from error  # lerobot looks for it on the Hub
        if _NAMES_A_PATH.search(found[-1]):
            raise UnsureError  # another file
    if "policy.path" in texts:
        seen = os.environ if environment is None else environment
        config = pretrained_config(texts["policy.path"], None, seen)
        found.append(json.dumps([config.values, config.source], sort_keys=True))
    return tuple(found)
