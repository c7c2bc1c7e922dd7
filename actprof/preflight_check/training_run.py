"""What a training command means for memory: the part of lerobot's config that decides it, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies import policy_names, policy_spec
from actprof.policies.lerobot_versions import amp_sets_autocast
from actprof.policies.precision import autocast_of
from actprof.training_command.sharing import Sharing, lerobot_sharing

# Fields of every policy's config that change no size (a `PolicySpec` names more), or are looked at apart.
_WITHOUT_SIZE = {
    "type", "input_features", "output_features", "device", "use_amp", "use_peft", "push_to_hub", "repo_id",
    "private", "tags", "license", "pretrained_path", "pretrained_revision", "normalization_mapping",
}  # fmt: skip
_AS_THEY_ARE = (
    "num_workers", "prefetch_factor", "batch_size", "steps", "save_freq", "save_checkpoint", "output_dir",
    "cudnn_deterministic", "resume",
)  # fmt: skip
# What a policy's config says of the padding of tasks; with `max_length` every text takes as much.
_PADDING = ("pad_language_to", "tokenizer_padding")
# Parts of the config that not every tested lerobot has, as they are where it has none.
_NOT_YET: Mapping[str, Any] = {
    "cudnn_deterministic": False, "eval_steps": 0, "job": {}, "peft": None, "prefetch_factor": 2,
    "rename_map": {}, "reward_model": None, "sample_weighting": None,
}  # fmt: skip
_RATES = {"lr", "weight_decay", "grad_clip_norm", "betas", "eps"}  # figures that change no size


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One training run as lerobot understands its command; what is not said here is as in its config.

    Attributes:
        policy_type: lerobot's name of the policy; of a reward model, `reward model NAME`.
        overrides: fields of the policy's config that differ from lerobot's defaults and change a size.
        device: `--policy.device`; `cuda` where the command names none.
        normalization: fields of `normalization_mapping` that differ from the default.
        input_features, output_features: those that a pretrained policy brings with it: name -> its `type`
            and `shape`.
        pretrained: the folder or repository whose weights it starts from, or nothing.
        config_from: where the config of that policy was found, in words; or nothing.
        rename_map: key in the dataset -> key that the policy knows it by.
        peft: fields of lerobot's PeftConfig, if an adapter is trained.
        loads_backbone: whether the weights of the vision-language model that it is built on are fetched; None
            where the policy does not ask.
        pads_task: every text of a task is padded to one length.
        most_task_tokens: the most tokens of a task that are read; 0 where the config does not say.
        image_transforms: lerobot's config of them, or None when they are off.
        optimizer: name of the optimizer that trains; `preset` for the policy's own.
        optimizer_ignored: name of the optimizer that the command names and the preset replaces.
        rate_ignored: the learning rate that the command names and the preset replaces; or None.
        rate_replaced: the learning rate of a saved config that the preset replaces; or None.
        preset: the policy's own optimizer and schedule are taken.
        horizon: actions of one sample; 0 where the config does not say.
        dropped_frames: at the end of each episode, of which no sample begins.
        optimizer_unusual: its fields beside rates that differ from its defaults.
        accumulate: batches for each of its steps, as lerobot accumulates from 0.6.2 on.
        ema: a moving average of the weights is kept, as from 0.6.2 on.
        precision: the accelerator's, where lerobot's own config says it, as from 0.6.2 on; empty: the
            launcher's.
        output_dir: None is a folder of the day below `outputs/train`.
        job_target: None is this machine.
        others: names of parts of the config that actprof does not know the memory of.
        prefetch_factor: batches that each DataLoader worker works ahead; before 0.6.0 always 2.
        start_method: of these workers, by Python's name; empty, as before 0.6.1, is Python's own choice.
        video_backend: what decodes videos; where nobody says, what this machine's lerobot takes.
        streaming: the dataset is not on disk.
        imagenet_statistics: ImageNet's mean and deviation take the place of the dataset's own.
        history: time steps of each observation in a sample, as `PolicySpec.history`.
        held_out: held-out episodes are evaluated, by a DataLoader of their own.
        evaluates: the run evaluates on held-out episodes or in an environment.
        left_out: what the command says that only another release of lerobot understands, a sentence each.
        refused: why lerobot refuses the command, where it is read all the same, a sentence each.
        amp_ignored: the command asks for `use_amp`, and this lerobot does not train by it.
        replicas, shards: groups of GPUs that each hold the weights, and GPUs that share them (-1: all), where
            the command names them (from 0.6.2 on).
        sharing: how several GPUs share the training, where lerobot's own config says it, as from 0.6.2 on.
    """

    policy_type: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cuda"
    use_amp: bool = False
    normalization: Mapping[str, Any] = field(default_factory=dict)
    input_features: Mapping[str, Any] = field(default_factory=dict)
    output_features: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    config_from: str = ""
    rename_map: Mapping[str, str] = field(default_factory=dict)
    peft: Mapping[str, Any] = field(default_factory=dict)
    loads_backbone: bool | None = None
    pads_task: bool = False
    most_task_tokens: int = 0
    repo_id: str
    root: str | None = None
    revision: str | None = None
    image_transforms: Mapping[str, Any] | None = None
    optimizer: str = "preset"
    optimizer_ignored: str = ""
    rate_ignored: float | None = None
    rate_replaced: float | None = None
    preset: bool = True
    horizon: int = 0
    dropped_frames: int = 0
    optimizer_unusual: tuple[str, ...] = ()
    accumulate: int = 1
    ema: bool = False
    precision: str = ""
    num_workers: int = 4
    prefetch_factor: int = 4
    start_method: str = ""
    video_backend: str = ""
    streaming: bool = False
    imagenet_statistics: bool = True
    history: int = 0
    held_out: bool = False
    batch_size: int
    steps: int
    save_freq: int
    save_checkpoint: bool = True
    output_dir: str | None = None
    cudnn_deterministic: bool = False
    resume: bool = False
    job_target: str | None = None
    others: tuple[str, ...] = ()
    evaluates: bool = False
    left_out: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    amp_ignored: bool = False
    replicas: int = 1
    shards: int = 1
    sharing: Sharing | None = None


def takes_precision(run: TrainingRun, told: str) -> bool:
    """Tell whether the policy trains in the precision that the launcher tells accelerate."""
    try:
        own = autocast_of(Cell(policy=run.policy_type, overrides=run.overrides, precision=told))
    except UsageError:
        return False
    return own == told and not run.use_amp


def training_run(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> TrainingRun:
    """Return what `config` means.

    Args:
        config: of the command, as `read_train_command` returns it.
        defaults: of the policy's `FlagTable`; `config` itself for a policy that has none.

    Raises:
        UsageError: a number or a name is null.
    """
    config = {**_NOT_YET, **config}
    _check(config)
    policy, usual = config["policy"] or {}, defaults["policy"] or {}
    dataset = config["dataset"]
    transforms = dataset["image_transforms"]
    target = config["job"].get("target")
    amp = bool(policy.get("use_amp"))
    return TrainingRun(
        policy_type=_policy_type(config),
        overrides=_overrides(policy, usual),
        device=str(policy.get("device") or "cuda"),
        use_amp=amp and amp_sets_autocast(),
        amp_ignored=amp and not amp_sets_autocast(),
        normalization=_different(
            policy.get("normalization_mapping") or {}, usual.get("normalization_mapping") or {}
        ),
        input_features=dict(policy.get("input_features") or {}),
        output_features=dict(policy.get("output_features") or {}),
        pretrained=str(policy.get("pretrained_path") or ""),
        config_from=str(config.get("policy_config_from") or ""),
        rename_map=dict(config["rename_map"] or {}),
        peft=_adapter(config["peft"]),
        loads_backbone=policy.get("load_vlm_weights"),
        pads_task=any(policy.get(name) == "max_length" for name in _PADDING),
        most_task_tokens=int(policy.get("tokenizer_max_length") or 0),
        **{name: dataset[name] for name in ("repo_id", "root", "revision")},
        horizon=int(policy.get("chunk_size") or policy.get("horizon") or 0),
        dropped_frames=int(policy.get("drop_n_last_frames") or 0),
        preset=bool(config["use_policy_training_preset"]),
        image_transforms=transforms if transforms["enable"] else None,
        **_optimizer(config, defaults["optimizer"] or {}),
        **_accelerator(config),
        **{name: config[name] for name in _AS_THEY_ARE},
        start_method=str(config.get("dataloader_multiprocessing_context") or ""),
        video_backend=str(dataset["video_backend"] or ""),
        streaming=bool(dataset["streaming"]),
        imagenet_statistics=bool(dataset["use_imagenet_stats"]),
        history=_history(policy),
        held_out=config["eval_steps"] > 0 and bool(dataset.get("eval_split")),
        job_target=None if target == "local" else target,
        others=_others(config),
        evaluates=bool(config["env"]) or config["eval_steps"] > 0,
        replicas=(config.get("parallelism") or {}).get("dp_replicate", 1),
        shards=(config.get("parallelism") or {}).get("dp_shard", 1),
        sharing=lerobot_sharing(config),
    )


def _others(config: Mapping[str, Any]) -> tuple[str, ...]:
    parts = {
        "sample_weighting": config["sample_weighting"] or config.get("use_rabc"),
        "policy.use_peft": (config["policy"] or {}).get("use_peft"),
    }
    return tuple(name for name, there in parts.items() if there)


def _adapter(peft: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is said of the adapter; its rank always, as a cell without a field has no adapter."""
    if not peft:
        return {}
    usual = {"method_type": "LORA"}
    said = {name: value for name, value in peft.items() if value is not None}
    return {name: value for name, value in said.items() if usual.get(name) != value}


def _accelerator(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what lerobot's own config of the accelerator says, which it has from 0.6.2 on."""
    own = config.get("accelerator") or {}
    return {
        "accumulate": (own.get("gradient_accumulation") or {}).get("steps", 1),
        "ema": bool((config.get("ema") or {}).get("enable")),
        "precision": {"no": "fp32"}.get(named, named) if (named := own.get("mixed_precision")) else "",
    }


def _check(config: Mapping[str, Any]) -> None:
    """Refuse what draccus lets pass as null, and no run can have."""
    for name in ("batch_size", "steps", "save_freq", "eval_steps", "num_workers", "prefetch_factor"):
        if type(config[name]) is not int:
            raise UsageError(f"--{name} is {config[name]!r}; it must be a whole number")
    if not isinstance(config["dataset"]["repo_id"], str):
        raise UsageError("--dataset.repo_id is null; it must name a dataset, like me/so101_pick_place")


def _policy_type(config: Mapping[str, Any]) -> str:
    if config["reward_model"]:
        return f"reward model {config['reward_model'].get('type', '')}".strip()
    return str(config["policy"]["type"])


def _history(policy: Mapping[str, Any]) -> int:
    known = policy.get("type") in policy_names()
    return policy_spec(str(policy["type"])).history(policy) if known else 0


def _overrides(policy: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    changed = _different(policy, defaults)
    if not changed:
        return {}
    spec = policy_spec(policy["type"])
    without_size = _WITHOUT_SIZE | spec.sizeless | set(spec.fixed)
    return {name: value for name, value in changed.items() if name not in without_size}


def _different(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != defaults.get(name)}


def _optimizer(config: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    used, asked = config["optimizer"] or {}, config["optimizer_asked"] or {}
    usual = config["optimizer_default"] or {}
    unusual = sorted(name for name in used if name not in _RATES and used[name] != usual.get(name))
    if not config["use_policy_training_preset"]:
        return {"optimizer": used.get("type", ""), "optimizer_unusual": tuple(unusual)}
    # A resumed run keeps the optimizer of its checkpoint: the preset's, unless somebody changed it.
    same = not config["resume"] or used.get("type") == preset.get("type")
    replaced = {} if config["resume"] else {n: v for n, v in asked.items() if v != used.get(n)}
    flags = config["optimizer_flags"]  # draccus has a type even where only a rate was given
    return {
        "optimizer": "preset" if same else used.get("type", ""),
        "optimizer_ignored": replaced.get("type", "") if not flags or "type" in flags else "",
        "rate_ignored": replaced.get("lr") if "lr" in flags else None,
        "rate_replaced": replaced.get("lr") if not flags else None,
    }
