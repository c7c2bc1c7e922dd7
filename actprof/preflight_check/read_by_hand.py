"""Flags of `lerobot-train` read without lerobot, where it is sure what lerobot makes of them.

It only accepts, it never refuses: `UnsureError` means "ask lerobot". A flag must be in the table of lerobot's
simple fields, stand once, and have a value that YAML and draccus read in one way only; and it must be none
that a check of a tested lerobot could refuse (`TrainPipelineConfig.validate`; and each `__post_init__` of
`DatasetConfig`, `EvalConfig`, `PreTrainedConfig` and the policy's own config, of 0.6.2 those of `EMAConfig`,
`ParallelismConfig`, `AcceleratorConfig` and its parts, too).
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from actprof.preflight_check.flag_table import FlagTable

_FLAG = re.compile(r"--([a-z_][\w.]*)(?:=(.*))?", re.DOTALL)
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)  # no quotes, brackets, colons or blanks: a YAML scalar
_DOTTED_NUMBER = re.compile(r"[\d_.+-]+")
_SAFE_DATASET = {
    "dataset.repo_id", "dataset.root", "dataset.revision", "dataset.streaming", "dataset.use_imagenet_stats",
    "dataset.video_backend", "dataset.return_uint8", "dataset.image_transforms.enable",
}  # fmt: skip
# Flags that a check reads, and the values that it lets pass beside anything else in the command.
_PASSES: dict[str, Callable[[Any], bool]] = {
    "accelerator.compile.enabled": lambda value: not value,
    "accelerator.fsdp.min_num_params": lambda value: value is None,
    "accelerator.gradient_accumulation.steps": lambda value: value >= 1,
    "accelerator.mixed_precision": lambda value: value in ("no", "fp16", "bf16"),
    "dataloader_multiprocessing_context": lambda value: value == "spawn",
    "ema.decay": lambda value: value is None,
    "ema.inv_gamma": lambda value: value > 0,
    "ema.max_decay": lambda _value: False,  # these two are looked at together
    "ema.min_decay": lambda _value: False,
    "ema.power": lambda value: value > 0,
    "ema.update_after_step": lambda value: value >= 0,
    "eval_steps": lambda value: value <= 0,
    "eval.recording_repo_id": lambda value: value is None,
    "output_dir": lambda value: value is None or not Path(value).is_dir(),
    "parallelism.cfg_parallel": lambda value: value == 1,
    "parallelism.context_parallel.ring_degree": lambda value: value == 1,
    "parallelism.context_parallel.ulysses_degree": lambda value: value == 1,
    "parallelism.dp_replicate": lambda value: value >= 1,
    "parallelism.dp_shard": lambda value: value == 1,
    "policy.device": lambda value: value == "cuda",
    "policy.pretrained_path": lambda _value: True,  # only a rename_map needs it
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


class UnsureError(Exception):
    """Only lerobot knows."""


def pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Return flag -> text of `--flag=text` and `--flag text`.

    Raises:
        UnsureError: something else stands there, or a flag twice.
    """
    texts: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        match = _FLAG.fullmatch(rest.pop(0))
        if match is None or match[1] in texts:
            raise UnsureError
        text = match[2]
        if text is None:
            if not rest or rest[0].startswith("-"):
                raise UnsureError
            text = rest.pop(0)
        texts[match[1]] = text
    return texts


def checked_value(name: str, text: str, table: FlagTable, policy: str) -> Any:
    """Return the value of a flag of a policy's run that passes lerobot's checks.

    Raises:
        UnsureError: it is not a simple flag, or only lerobot knows whether it passes.
    """
    passes = _PASSES | _POLICY_PASSES.get(policy, {})
    if name not in table.types or (name.startswith("dataset.") and name not in _SAFE_DATASET):
        raise UnsureError
    value = typed_value(text, table.types[name])
    if not (passes[name](value) if name in passes else name not in table.checked):
        raise UnsureError
    return value


def typed_value(text: str, kind: str) -> Any:
    """Return the value that draccus decodes.

    Raises:
        UnsureError: it is none of that kind, or only draccus knows.
    """
    if not _PLAIN.fullmatch(text) or text.startswith("include"):  # a word that draccus keeps for itself
        raise UnsureError
    plain = kind.removesuffix("?")
    try:
        value = yaml.safe_load(text)
        if plain == "float" and isinstance(value, int | str) and not isinstance(value, bool):
            value = float(value)  # YAML 1.1 reads 1e-5 as a text, which draccus turns into a number as well
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UnsureError from error
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
    raise UnsureError


def with_values(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the values of flags in it."""
    config: dict[str, Any] = copy.deepcopy(dict(defaults))
    for name, value in values.items():
        *path, last = name.split(".")
        place = config
        for part in path:
            place = place[part]
        place[last] = value
    return config


def passes_together(config: Mapping[str, Any]) -> bool:
    """Tell whether lerobot's checks of several fields at once let the config pass."""
    policy, evaluation = config["policy"], config["eval"]
    pushes = policy["push_to_hub"] and not policy["repo_id"]
    remote = config.get("job", {}).get("target") not in (None, "local")
    fits = policy.get("n_action_steps", 0) <= policy.get("chunk_size", math.inf)
    # Until 0.5.1 each environment had to be of use; since then there are as many as are.
    evaluates = "recording" in evaluation or evaluation["batch_size"] <= evaluation["n_episodes"]
    return fits and evaluates and (remote or not pushes)
