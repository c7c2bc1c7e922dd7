"""From the arguments of `lerobot-train` to a `TrainingRun`: by hand where that is sure, else by lerobot.

Reading by hand spares lerobot's import of ten seconds. It only accepts, it never refuses: None means "ask
lerobot". A flag must be in the table of lerobot's simple fields, stand once, and have a value that YAML and
draccus read in one way only; and nothing may stand in the command that one of lerobot 0.6.1's checks could
refuse (`TrainPipelineConfig.validate`; `DatasetConfig`, `EvalConfig`, `PreTrainedConfig` and the policy's own
config, each `__post_init__`).

The table is written down once by lerobot and kept beside the traces. It belongs to one policy, one version of
lerobot and of the code that writes it; a file that cannot be read is written again.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from actprof.errors import StoreError
from actprof.files import write_whole
from actprof.policies import policy_names
from actprof.preflight_check.training_run import TrainingRun, training_run
from actprof.trace.cache import cache_directory
from actprof.versions import code_digest, package_version

_log = logging.getLogger(__name__)

CHECKED_LEROBOT = ("0.6.1",)  # releases whose checks are those below
_FLAG = re.compile(r"--([a-z_][\w.]*)(?:=(.*))?", re.DOTALL)
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)  # no quotes, brackets, colons or blanks: a YAML scalar
_DOTTED_NUMBER = re.compile(r"[\d_.+-]+")
_SAFE_DATASET = {
    "dataset.repo_id", "dataset.root", "dataset.revision", "dataset.streaming", "dataset.use_imagenet_stats",
    "dataset.video_backend", "dataset.return_uint8", "dataset.image_transforms.enable",
}  # fmt: skip
# Flags that a check reads, and the values that it lets pass beside anything else in the command.
_PASSES: dict[str, Callable[[Any], bool]] = {
    "dataloader_multiprocessing_context": lambda value: value == "spawn",
    "eval_steps": lambda value: value <= 0,
    "eval.recording_repo_id": lambda value: value is None,
    "output_dir": lambda value: value is None or not Path(value).is_dir(),
    "policy.device": lambda value: value == "cuda",
    "policy.pretrained_path": lambda value: value is None,
    "policy.use_peft": lambda value: not value,
    "resume": lambda value: not value,
    "save_checkpoint_to_hub": lambda value: not value,
    "use_policy_training_preset": bool,
}
# The same of the checks of one policy; what others check at all is left to lerobot.
_POLICY_PASSES: dict[str, dict[str, Callable[[Any], bool]]] = {
    "act": {
        "policy.chunk_size": lambda _value: True,  # these two are looked at together
        "policy.n_action_steps": lambda _value: True,
        "policy.n_obs_steps": lambda value: value == 1,
        "policy.temporal_ensemble_coeff": lambda value: value is None,
        "policy.vision_backbone": lambda value: value.startswith("resnet"),
    },
}


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
    key = f"{policy}-{package_version('lerobot')}-{code_digest('policies/train_command.py')}"
    return _table(policy, cache_directory() / f"lerobot-train-flags-{key}.json")


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


class _UnsureError(Exception):
    """Only lerobot knows."""


def read_command(arguments: Sequence[str], *, may_exist: bool = False) -> TrainingRun:
    """Return what `lerobot-train ARGUMENTS` would train; raises as `read_with_lerobot`.

    With `may_exist` an output folder that is there already is not refused, as lerobot does.
    """
    return read_quickly(arguments) or read_with_lerobot(arguments, may_exist=may_exist)


def read_with_lerobot(arguments: Sequence[str], *, may_exist: bool = False) -> TrainingRun:
    """Return what lerobot's own parser makes of the command.

    Raises:
        UsageError: lerobot refuses it; the message is lerobot's own.
        UnknownAnswerError: it names a file on the Hub that cannot be had.
    """
    from actprof.policies.train_command import read_train_command

    config = read_train_command(arguments, may_exist=may_exist)
    policy = (config["policy"] or {}).get("type")
    return training_run(config, flag_table(policy).defaults if policy in policy_names() else config)


def read_quickly(arguments: Sequence[str]) -> TrainingRun | None:
    """Return what the command means without lerobot, or None where only lerobot knows.

    The first time on a machine lerobot is imported to write down the policy's flags.
    """
    if package_version("lerobot") not in CHECKED_LEROBOT:
        return None
    try:
        texts = _pairs(arguments)
        policy = texts.pop("policy.type", "")
        if policy not in policy_names() or "dataset.repo_id" not in texts:
            return None
        table = flag_table(policy)
        passes = _PASSES | _POLICY_PASSES.get(policy, {})
        config = _with_values(table.defaults, {n: _checked(n, t, table, passes) for n, t in texts.items()})
    except _UnsureError:
        return None
    return training_run(config, table.defaults) if _passes_together(config) else None


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Return flag -> text of `--flag=text` and `--flag text`."""
    texts: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        match = _FLAG.fullmatch(rest.pop(0))
        if match is None or match[1] in texts:
            raise _UnsureError
        text = match[2]
        if text is None:
            if not rest or rest[0].startswith("-"):
                raise _UnsureError
            text = rest.pop(0)
        texts[match[1]] = text
    return texts


def _checked(name: str, text: str, table: FlagTable, passes: Mapping[str, Callable[[Any], bool]]) -> Any:
    """Return the value of a flag that passes lerobot's checks."""
    if name not in table.types or (name.startswith("dataset.") and name not in _SAFE_DATASET):
        raise _UnsureError
    value = _value(text, table.types[name])
    if not (passes[name](value) if name in passes else name not in table.checked):
        raise _UnsureError
    return value


def _value(text: str, kind: str) -> Any:
    """Return the value that draccus decodes."""
    if not _PLAIN.fullmatch(text) or text.startswith("include"):  # a word that draccus keeps for itself
        raise _UnsureError
    plain = kind.removesuffix("?")
    try:
        value = yaml.safe_load(text)
        if plain == "float" and isinstance(value, int | str) and not isinstance(value, bool):
            value = float(value)  # YAML 1.1 reads 1e-5 as a text, which draccus turns into a number as well
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _UnsureError from error
    match plain, value:
        case _, None if kind != plain:
            return None
        case "bool", bool():
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case "float", float() if math.isfinite(value):
            return value
        case "str" | "Path", str() if not _DOTTED_NUMBER.fullmatch(value):
            return str(Path(value)) if plain == "Path" else value
    raise _UnsureError


def _with_values(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = copy.deepcopy(dict(defaults))
    for name, value in values.items():
        *path, last = name.split(".")
        place = config
        for part in path:
            place = place[part]
        place[last] = value
    return config


def _passes_together(config: Mapping[str, Any]) -> bool:
    """Tell whether lerobot's checks of several fields at once let the config pass."""
    policy = config["policy"]
    pushes = policy["push_to_hub"] and not policy["repo_id"]
    remote = config["job"]["target"] not in (None, "local")
    fits = policy.get("n_action_steps", 0) <= policy.get("chunk_size", math.inf)
    return fits and (remote or not pushes)
