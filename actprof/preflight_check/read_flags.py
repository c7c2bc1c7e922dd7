"""Read a plain `--policy.type=act` command without importing lerobot; what is not sure is left to lerobot.

It only accepts, it never refuses: None means "ask lerobot". A flag must be in the table of lerobot's simple
fields, stand once, and have a value that YAML and draccus read in one way only; and nothing may stand in the
command that one of lerobot 0.6.1's checks could refuse (`TrainPipelineConfig.validate`, `DatasetConfig`,
`EvalConfig`, `PreTrainedConfig` and `ACTConfig`, each `__post_init__`).
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from actprof.preflight_check.field_table import FieldTable

CHECKED_LEROBOT = ("0.6.1",)  # releases whose checks are those below
_FLAG = re.compile(r"--([a-z_][\w.]*)(?:=(.*))?", re.DOTALL)
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)  # no quotes, brackets, colons or blanks: a YAML scalar
_DOTTED_NUMBER = re.compile(r"[\d_.+-]+")
_NEEDED = ("policy.type", "dataset.repo_id")
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
    "policy.n_obs_steps": lambda value: value == 1,
    "policy.pretrained_path": lambda value: value is None,
    "policy.temporal_ensemble_coeff": lambda value: value is None,
    "policy.use_peft": lambda value: not value,
    "policy.vision_backbone": lambda value: value.startswith("resnet"),
    "resume": lambda value: not value,
    "save_checkpoint_to_hub": lambda value: not value,
    "use_policy_training_preset": bool,
}


def read_flags(arguments: Sequence[str], table: FieldTable) -> dict[str, Any] | None:
    """Return the config of the command as nested JSON values (see `read_train_command`), or None.

    Args:
        arguments: what stands after `lerobot-train`.
        table: lerobot's flags.
    """
    texts = _pairs(arguments)
    if texts is None or texts.get("policy.type") != "act" or not all(name in texts for name in _NEEDED):
        return None
    values = {}
    for name, text in texts.items():
        if name == "policy.type":
            continue
        if name not in table.types or (name.startswith("dataset.") and name not in _SAFE_DATASET):
            return None
        read, value = _value(text, table.types[name])
        if not read or not _PASSES.get(name, lambda _value: True)(value):
            return None
        values[name] = value
    config = _with_values(table.defaults, values)
    return config if _passes_together(config) else None


def _pairs(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return flag -> text of `--flag=text` and `--flag text`; None for anything else, or a flag twice."""
    texts: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        match = _FLAG.fullmatch(rest.pop(0))
        if match is None or match[1] in texts:
            return None
        text = match[2]
        if text is None:
            if not rest or rest[0].startswith("-"):
                return None
            text = rest.pop(0)
        texts[match[1]] = text
    return texts


def _value(text: str, kind: str) -> tuple[bool, Any]:
    """Return (True, the value that draccus decodes) or (False, None) where that is not certain."""
    unsure = (False, None)
    if not _PLAIN.fullmatch(text) or text.startswith("include"):  # a word that draccus keeps for itself
        return unsure
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return unsure
    if value is None:
        return (True, None) if kind.endswith("?") else unsure
    return _decoded(value, kind.removesuffix("?"))


def _decoded(value: Any, kind: str) -> tuple[bool, Any]:
    unsure = (False, None)
    if kind == "bool":
        return (True, value) if isinstance(value, bool) else unsure
    if kind == "int":
        return (True, value) if type(value) is int else unsure
    if kind == "float":
        return _number(value)
    if not isinstance(value, str) or _DOTTED_NUMBER.fullmatch(value):
        return unsure
    return True, str(Path(value)) if kind == "Path" else value


def _number(value: Any) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False, None
    try:
        number = float(value)  # YAML 1.1 reads 1e-5 as a text, which draccus turns into a number as well
    except (ValueError, OverflowError):
        return False, None
    return math.isfinite(number), number


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
    return policy["n_action_steps"] <= policy["chunk_size"] and (remote or not pushes)
