"""Traps: what a command does that its author may not expect.

Each is one small function that says what happens and what to do, or nothing, and stands in `TRAPS`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from actprof.allocator.config import AllocatorConfig
from actprof.cell_field import parse_resolution
from actprof.policies import policy_spec
from actprof.preflight_check.preflight import Preflight, Trap
from actprof.preflight_check.training_run import TrainingRun
from actprof.units import format_bytes
from actprof.versions import package_version

_LARGE_PIXELS = 1920 * 1080
_FP32_BYTES = 4
# Tensors of a parameter's size that each optimizer keeps.
_STATES = {"preset": 2, "adamw": 2, "adam": 2, "sgd": 1}


def find_traps(answer: Preflight) -> tuple[Trap, ...]:
    """Return the traps of a run, in the order of `TRAPS`."""
    return tuple(Trap(name, text) for name, find in TRAPS.items() if (text := find(answer)))


def mixed_precision(answer: Preflight) -> str:
    """`use_amp` is fp16 here, whatever accelerate is told."""
    if not answer.run.use_amp:
        return ""
    told = answer.launch.precision
    over = f", and takes the place of accelerate's {told}" if told not in ("fp32", "fp16") else ""
    return (
        f"--policy.use_amp=true trains in fp16 with loss scaling in lerobot {package_version('lerobot')} "
        f"(autocast's default on CUDA){over}. Releases 0.4.0 to 0.6.0 ignored it. For bf16 leave it out and "
        "start with `accelerate launch --mixed_precision=bf16`."
    )


def large_camera(answer: Preflight) -> str:
    """A camera at 1080p or above is rarely what a policy with a token for each patch of it needs."""
    if answer.inputs is None or answer.inputs.unknown or not policy_spec(answer.run.policy_type).token_module:
        return ""
    resolution = answer.inputs.resolutions[0]
    width, height = parse_resolution(resolution)
    if width * height < _LARGE_PIXELS:
        return ""
    tokens = -(-width // 32) * -(-height // 32)
    return (
        f"a camera delivers {resolution}: {tokens:,} tokens each for the encoder, whose attention grows with "
        "the square of all tokens. 320x240 has 80; resize the dataset's videos before training."
    )


def transforms_keep_size(answer: Preflight) -> str:
    """Image transforms are on, and none of them resizes."""
    if answer.run.image_transforms is None or answer.inputs is None or answer.inputs.resized:
        return ""
    return (
        f"--dataset.image_transforms changes how frames look, not their size: the policy still sees "
        f"{answer.inputs.raw}."
    )


def transforms_resize(answer: Preflight) -> str:
    """A resize among the image transforms is left out when the policy runs on the robot."""
    if answer.inputs is None or not answer.inputs.resized or answer.inputs.unknown:
        return ""
    return (
        f"the image transforms resize frames from {answer.inputs.raw} to {answer.inputs.resolutions[0]} "
        "while training only: evaluation and the robot give the policy the camera's own size. Resize the "
        "dataset, and the camera's frames with it."
    )


def ignored_optimizer(answer: Preflight) -> str:
    """The policy's preset replaces the optimizer of the command."""
    if not answer.run.optimizer_ignored:
        return ""
    return (
        f"--optimizer.type={answer.run.optimizer_ignored} is ignored: the policy's preset replaces it. Add "
        "--use_policy_training_preset=false and a --scheduler.type to have it."
    )


def expandable_and_split(answer: Preflight) -> str:
    """Two settings of the allocator that work against each other."""
    config = AllocatorConfig.parse(answer.settings.text)
    if not config.expandable_segments or "max_split_size_mb" not in answer.settings.text:
        return ""
    return (
        "expandable_segments gathers free memory in large blocks, and max_split_size_mb keeps large blocks "
        "from small requests: together they can reserve more than either. Leave max_split_size_mb out."
    )


def hidden_settings(answer: Preflight) -> str:
    """Two variables name allocator settings, and PyTorch reads one."""
    settings = answer.settings
    if not settings.hidden:
        return ""
    return (
        f"{settings.hidden} is not read, because {settings.variable} is set; the two are never merged. "
        "Unset one of them."
    )


def job_environment(answer: Preflight) -> str:
    """Variables of this machine do not reach a job."""
    if answer.run.job_target is None or not answer.settings.variable:
        return ""
    return (
        f"{answer.settings.variable} of this machine does not reach the Hugging Face job; the answer is for "
        "a job without it."
    )


def checkpoints_fill_disk(answer: Preflight) -> str:
    """All checkpoints together are larger than the disk."""
    run = answer.run
    if not run.save_checkpoint or run.job_target is not None or answer.result is None:
        return ""
    count = checkpoint_count(run)
    each = answer.result.parameters * _FP32_BYTES * (1 + _STATES.get(run.optimizer, 2))
    folder = _existing(Path(run.output_dir or "outputs/train"))
    free = shutil.disk_usage(folder).free
    if count * each <= free:
        return ""
    return (
        f"{count:,} checkpoints of {format_bytes(each)} (weights and optimizer state) make "
        f"{format_bytes(count * each)}, and {folder} has {format_bytes(free)} free. Save less often: "
        f"--save_freq={max(-(-run.steps // max(free // each - 1, 1)), 1) if free >= each else run.steps}, or "
        "name an --output_dir on another disk."
    )


def checkpoint_count(run: TrainingRun) -> int:
    """Return how many checkpoints the run leaves: every `save_freq` steps, and after the last."""
    if run.save_freq <= 0:
        return 1
    return -(-run.steps // run.save_freq)


def _existing(folder: Path) -> Path:
    """Return the nearest folder above that exists, where the new one will be made."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.is_dir())


TRAPS: dict[str, Callable[[Preflight], str]] = {
    "use_amp": mixed_precision,
    "large_camera": large_camera,
    "image_transforms": transforms_keep_size,
    "resize_in_training_only": transforms_resize,
    "optimizer_ignored": ignored_optimizer,
    "expandable_and_max_split": expandable_and_split,
    "two_allocator_variables": hidden_settings,
    "job_environment": job_environment,
    "checkpoints_fill_disk": checkpoints_fill_disk,
}
