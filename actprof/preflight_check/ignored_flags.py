"""Flags that lerobot reads and then does nothing with, and what to say instead.

By lerobot 0.6.1: `TrainPipelineConfig.validate` (the preset takes the place of optimizer and schedule unless
the run is resumed), `load_training_state` (a resumed optimizer has the checkpoint's rates), and `train` in
lerobot/scripts/lerobot_train.py (what is looked at only beside something else).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from actprof.policies import policy_names, policy_spec
from actprof.preflight_check.named_values import flag_values
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.trap import Trap

_OFF = ("false", "no", "off", "0")
_WORKERS = ("prefetch_factor", "persistent_workers", "dataloader_multiprocessing_context")


def ignored_flags(run: TrainingRun, arguments: Sequence[str]) -> Iterator[Trap]:
    """Yield what a run's flags do not do."""
    flags = flag_values(arguments)
    yield from _of_optimizer(run, flags)
    yield from _of_schedule(run, flags)
    if run.preset is False and (own := _those(flags, "policy.optimizer_", "policy.scheduler_")):
        yield Trap(
            "policy_optimizer_ignored",
            f"{_listed(own, flags)} {_is(own)} ignored: with --use_policy_training_preset=false only "
            "--optimizer.* and --scheduler.* count.",
        )
    for name, names, beside in _beside(run, flags):
        if names:
            yield Trap(name, f"{_listed(names, flags)} {_is(names)} ignored {beside}.")


def _of_optimizer(run: TrainingRun, flags: Mapping[str, str]) -> Iterator[Trap]:
    rates = _those(flags, "optimizer.", "policy.optimizer_")
    if run.resume and rates:
        yield Trap(
            "resumed_optimizer",
            f"{_listed(rates, flags)} {_is(rates)} ignored: a resumed run goes on with the optimizer of its "
            "checkpoint, learning rate included. For another one start anew with --policy.path.",
        )
        return
    if run.optimizer_ignored:
        yield Trap(
            "optimizer_ignored",
            f"--optimizer.type={run.optimizer_ignored} is ignored: the policy's preset replaces it. Add "
            "--use_policy_training_preset=false and a --scheduler.type to have it.",
        )
    if run.rate_ignored is not None:
        yield Trap(
            "rate_ignored",
            f"--optimizer.lr={run.rate_ignored:g} is ignored: the policy's preset replaces it. Say "
            f"--policy.optimizer_lr={run.rate_ignored:g}.",
        )
    own = ("policy.optimizer_lr", "policy.type", "policy.path", "use_policy_training_preset")
    if run.rate_replaced is not None and "config_path" in flags and not set(own) & set(flags):
        yield Trap(
            "rate_ignored",
            f"the saved config's optimizer.lr {run.rate_replaced:g} is ignored: the policy's preset replaces "
            f"it. Say --policy.optimizer_lr={run.rate_replaced:g}.",
        )
    others = [name for name in _those(flags, "optimizer.") if name not in ("optimizer.type", "optimizer.lr")]
    if run.preset and others:
        yield Trap(
            "optimizer_fields_ignored",
            f"{_listed(others, flags)} {_is(others)} ignored: the policy's preset replaces the optimizer. "
            "Say "
            + " ".join(
                f"--{name.replace('optimizer.', 'policy.optimizer_')}={flags[name]}" for name in others
            )
            + " where the policy has that, or add --use_policy_training_preset=false.",
        )


def _of_schedule(run: TrainingRun, flags: Mapping[str, str]) -> Iterator[Trap]:
    names = _those(flags, "scheduler.")
    if run.preset and not run.resume and names:
        title = policy_spec(run.policy_type).title if run.policy_type in policy_names() else run.policy_type
        yield Trap(
            "scheduler_ignored",
            f"{_listed(names, flags)} {_is(names)} ignored: {title}'s preset says which schedule there "
            "is, if any. Add --use_policy_training_preset=false and an --optimizer.type to have it.",
        )


def _beside(run: TrainingRun, flags: Mapping[str, str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield (name, flags that count beside something else only, what that is)."""
    saved = "config_path" in flags  # which may have it switched on
    on = {name for name, value in flags.items() if value.lower() not in _OFF}
    if not saved and "wandb.enable" not in on:
        yield "wandb_off", [n for n in _those(flags, "wandb.") if n in on], "without --wandb.enable=true"
    if run.image_transforms is None:
        names = [name for name in _those(flags, "dataset.image_transforms.") if name in on]
        yield "transforms_off", names, "without --dataset.image_transforms.enable=true"
    if not saved and "env.type" not in flags:
        names = [*_those(flags, "eval.", "env."), *_those(flags, "env_eval_freq")]
        names = [name for name in names if flags[name] not in ("0", "-1")]
        yield "no_environment", names, "without --env.type: nothing is evaluated in a simulation"
    if not saved and "eval_steps" not in on:
        yield "no_evaluation", _those(flags, "max_eval_samples"), "without --eval_steps"
        held = [name for name in _those(flags, "dataset.eval_split") if flags[name] not in ("0", "0.0")]
        yield (
            "held_out_for_nothing", held,
            "but for keeping episodes out of training: without --eval_steps nobody evaluates on them",
        )  # fmt: skip
    if run.num_workers == 0:
        yield "no_workers", [name for name in _WORKERS if name in flags], "with --num_workers=0"
    if not run.save_checkpoint:
        yield (
            "no_checkpoints",
            _those(flags, "save_freq", "save_checkpoint_to_hub"),
            "with --save_checkpoint=false",
        )
    if run.job_target is None and "job.target" not in flags:
        names = [name for name in ("job.image", "job.timeout", "job.detach") if name in flags]
        yield "no_job", names, "without --job.target"
    if not run.pretrained:
        yield (
            "nothing_pretrained",
            _those(flags, "policy.pretrained_revision"),
            "without a --policy.pretrained_path",
        )
    yield (
        "always_uint8",
        _those(flags, "dataset.return_uint8"),
        "in training, where frames always come as bytes",
    )
    if run.device.removeprefix("cuda:").isdecimal():
        which = run.device.removeprefix("cuda:")
        named = [name for name in ("policy.device",) if name in flags and which != "0"]
        yield (
            "device_index",
            named,
            f"as to which GPU it is: accelerate takes the first. Set CUDA_VISIBLE_DEVICES={which}",
        )


def _those(flags: Mapping[str, str], *starts: str) -> list[str]:
    return [name for name in flags if name.startswith(starts)]


def _listed(names: Sequence[str], flags: Mapping[str, str]) -> str:
    return ", ".join(f"--{name}={flags[name]}" for name in names)


def _is(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"
