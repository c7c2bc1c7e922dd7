"""Commands of earlier lerobots: scripts under other names, and the `key=value` that hydra took in 2024."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from actprof.training_command.command_line import CommandLine

_OLD_MODULES = ("lerobot.scripts.train", "lerobot.common.scripts.train")
_OWN_FLAG = re.compile(r"--(?:policy|dataset|env|wandb|eval)\.\w+.*|--config_path.*|policy=\w+", re.DOTALL)
_PAIR = re.compile(r"[+~]{0,2}([\w./@-]+)=(.*)", re.DOTALL)
# lerobot/configs/default.yaml and policy/*.yaml of 2024 -> today's flags; empty: nothing like it is left.
_RENAMED = {
    "dataset_repo_id": "dataset.repo_id", "training.batch_size": "batch_size",
    "training.offline_steps": "steps", "training.steps": "steps", "training.save_freq": "save_freq",
    "training.log_freq": "log_freq", "training.eval_freq": "env_eval_freq",
    "training.num_workers": "num_workers", "training.save_checkpoint": "save_checkpoint",
    "training.lr": "policy.optimizer_lr", "training.adam_weight_decay": "policy.optimizer_weight_decay",
    "training.lr_backbone": "policy.optimizer_lr_backbone",
    "training.weight_decay": "policy.optimizer_weight_decay", "training.adam_betas": "policy.optimizer_betas",
    "training.adam_eps": "policy.optimizer_eps", "training.lr_scheduler": "policy.scheduler_name",
    "training.lr_warmup_steps": "policy.scheduler_warmup_steps", "device": "policy.device",
    "use_amp": "policy.use_amp", "hydra.run.dir": "output_dir", "hydra.job.name": "job_name",
    "video_backend": "dataset.video_backend", "seed": "seed", "resume": "resume", "batch_size": "batch_size",
    "steps": "steps", "num_workers": "num_workers", "output_dir": "output_dir", "job_name": "job_name",
    "policy.temporal_ensemble_momentum": "", "policy.n_obs_steps": "policy.n_obs_steps", "env.name": "",
    "wandb.disable_artifact": "wandb.disable_artifact", "training.grad_clip_norm": "", "fps": "",
}  # fmt: skip
# Flags of early 2025 (lerobot/configs/train.py, default.py), before 0.2; empty: nothing like it is left.
_FLAGS_OF_2025 = {
    "device": "policy.device", "use_amp": "policy.use_amp", "offline.steps": "steps", "online.steps": "",
    "dataset.local_files_only": "",
}  # fmt: skip
_SAME = re.compile(r"(?:policy|dataset|eval|wandb|env|optimizer|scheduler|job)\.[\w.]+")
_TRANSFORMS = "training.image_transforms."
_POLICIES = ("act", "diffusion", "tdmpc", "vqbet")
_SIMULATIONS = ("aloha", "pusht")
# What a policy's file said where the command did not: dataset, batch size.
_USUAL = {
    "act": ("lerobot/aloha_sim_insertion_human", 8), "diffusion": ("lerobot/pusht", 64),
    "tdmpc": ("lerobot/xarm_lift_medium", 256), "vqbet": ("lerobot/pusht", 64),
}  # fmt: skip


def old_script(words: Sequence[str]) -> str:
    """Return what the first of `words` is today if it is lerobot's old training script, else nothing."""
    head = words[0].replace("\\", "/")
    lerobots = head.endswith("lerobot/scripts/train.py") or head in _OLD_MODULES
    if lerobots or (head.split("/")[-1] == "train.py" and any(map(_OWN_FLAG.fullmatch, words[1:]))):
        return f"{head} is lerobot-train today (python -m lerobot.scripts.lerobot_train)"
    return ""


def flags_of_today(line: CommandLine) -> CommandLine:
    """Return `line` with the flags of early 2025 as they are called today; `mended` says which they are."""
    words: list[str] = []
    said: list[str] = []
    rest = list(line.arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in _FLAGS_OF_2025:
            words.append(word)
            continue
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        today = _FLAGS_OF_2025[name]
        words += [f"--{today}={value}"] if today else []
        said.append(
            f"--{name} is a flag of early 2025; " + (f"today it is --{today}" if today else "leave it out")
        )
    return replace(line, arguments=tuple(words), mended=(*line.mended, *said)) if said else line


def as_today(line: CommandLine) -> CommandLine:
    """Return `line` with the `key=value` of hydra, which lerobot took until 2025, written as flags.

    `mended` says how the command reads today, and what has no counterpart.
    """
    pairs = [match for word in line.arguments if (match := _PAIR.fullmatch(word))]
    told = {match[1]: match[2] for match in pairs}
    flags = [word for word in line.arguments if word.startswith("--") and not word.startswith("--config-")]
    names = [key for key in told if key in _RENAMED or key in ("policy", "env") or _SAME.fullmatch(key)]
    if not names or (flags and not {"policy", "env", "dataset_repo_id"} & set(told)):
        return line
    if "policy" not in told and not any(key.startswith(("policy.type", "policy.path")) for key in told):
        told = {"policy": "diffusion", **told}  # as default.yaml had it
    words, dropped = _flags(told)
    words += [
        word for word in flags if word.partition("=")[0][2:] not in {w.partition("=")[0][2:] for w in words}
    ]
    today = shlex.join(["lerobot-train", *words])
    lost = f"; nothing today is like {', '.join(dropped)}" if dropped else ""
    said = (
        f"key=value without dashes is how lerobot was started in 2024, through hydra; today it reads{lost}:\n"
        f"{today}"
    )
    return replace(line, arguments=tuple(words), mended=(*line.mended, said))


def _flags(told: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return today's flags, and the keys that have no counterpart."""
    found: dict[str, str] = {}
    dropped = []
    for key, value in told.items():
        name = _renamed(key, value)
        if name:
            found[name] = value
        elif key not in ("policy", "env"):
            dropped.append(key)
    policy = next((name for name in _POLICIES if told.get("policy", "").startswith(name)), told.get("policy"))
    if policy:
        found = {"policy.type": policy, **found}
        repository, batch_size = _USUAL.get(policy, ("", 8))
        if repository:
            found.setdefault("dataset.repo_id", repository)
        found.setdefault("batch_size", str(batch_size))
        found.setdefault("policy.push_to_hub", "false")
    if told.get("env") in _SIMULATIONS:
        found["env.type"] = told["env"]
    elif told.get("env") and not told["env"].endswith("_real"):
        dropped.append(f"env={told['env']}")
    return [f"--{name}={value}" for name, value in found.items()], dropped


def _renamed(key: str, value: str) -> str:
    """Return today's name of a field; empty where it has none, or what it is goes another way."""
    if key in _RENAMED:
        return _RENAMED[key] if value != "null" else ""
    if key.startswith(_TRANSFORMS):
        return f"dataset.{key.removeprefix('training.')}" if key.endswith(".enable") else ""
    return key if _SAME.fullmatch(key) else ""
