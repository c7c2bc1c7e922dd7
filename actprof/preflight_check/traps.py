"""Traps: what a command does that its author may not expect, each with a name and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from actprof.allocator.config import AllocatorConfig
from actprof.cell_field import parse_resolution
from actprof.policies import policy_spec
from actprof.preflight_check.policy_inputs import Inputs
from actprof.preflight_check.preflight import Preflight, Trap
from actprof.preflight_check.training_run import TrainingRun
from actprof.units import format_bytes
from actprof.versions import package_version

_LARGE_PIXELS = 1920 * 1080
_FP32_BYTES = 4
# Tensors of a parameter's size that each optimizer keeps.
_STATES = {"preset": 2, "adamw": 2, "adam": 2, "sgd": 1}


def find_traps(answer: Preflight) -> tuple[Trap, ...]:
    """Return the traps of a run, in the order in which they stand below."""
    return (*_of_training(answer), *_of_allocator(answer), *_of_checkpoints(answer))


def _of_training(answer: Preflight) -> Iterator[Trap]:
    run, told = answer.run, answer.launch.precision
    if run.use_amp:
        over = f", and takes the place of accelerate's {told}" if told not in ("fp32", "fp16") else ""
        yield Trap(
            "use_amp",
            "--policy.use_amp=true trains in fp16 with loss scaling in lerobot "
            f"{package_version('lerobot')} (autocast's default on CUDA){over}. Releases 0.4.0 to 0.6.0 "
            "ignored it. For bf16 leave it out and start with `accelerate launch --mixed_precision=bf16`.",
        )
    if answer.inputs is not None:
        yield from _of_inputs(run, answer.inputs)
    if run.optimizer_ignored:
        yield Trap(
            "optimizer_ignored",
            f"--optimizer.type={run.optimizer_ignored} is ignored: the policy's preset replaces it. Add "
            "--use_policy_training_preset=false and a --scheduler.type to have it.",
        )


def _of_inputs(run: TrainingRun, inputs: Inputs) -> Iterator[Trap]:
    if not inputs.unknown and policy_spec(run.policy_type).token_module:
        width, height = parse_resolution(inputs.resolutions[0])
        if width * height >= _LARGE_PIXELS:
            yield Trap(
                "large_camera",
                f"a camera delivers {inputs.resolutions[0]}: {-(-width // 32) * -(-height // 32):,} tokens "
                "each for the encoder, whose attention grows with the square of all tokens. 320x240 has 80; "
                "resize the dataset's videos before training.",
            )
    if run.image_transforms is not None and not inputs.resized:
        yield Trap(
            "image_transforms",
            "--dataset.image_transforms changes how frames look, not their size: the policy still sees "
            f"{inputs.raw}.",
        )
    if inputs.resized and not inputs.unknown:
        yield Trap(
            "resize_in_training_only",
            f"the image transforms resize frames from {inputs.raw} to {inputs.resolutions[0]} while "
            "training only: evaluation and the robot give the policy the camera's own size. Resize the "
            "dataset, and the camera's frames with it.",
        )


def _of_allocator(answer: Preflight) -> Iterator[Trap]:
    settings = answer.settings
    if AllocatorConfig.parse(settings.text).expandable_segments and "max_split_size_mb" in settings.text:
        yield Trap(
            "expandable_and_max_split",
            "expandable_segments gathers free memory in large blocks, and max_split_size_mb keeps large "
            "blocks from small requests: together they can reserve more than either. Leave "
            "max_split_size_mb out.",
        )
    if settings.hidden:
        yield Trap(
            "two_allocator_variables",
            f"{settings.hidden} is not read, because {settings.variable} is set; the two are never merged. "
            "Unset one of them.",
        )
    if answer.run.job_target is not None and settings.variable:
        yield Trap(
            "job_environment",
            f"{settings.variable} of this machine does not reach the Hugging Face job; the answer is for "
            "a job without it.",
        )


def _of_checkpoints(answer: Preflight) -> Iterator[Trap]:
    run = answer.run
    if not run.save_checkpoint or run.job_target is not None or answer.result is None:
        return
    count = checkpoint_count(run)
    each = answer.result.parameters * _FP32_BYTES * (1 + _STATES.get(run.optimizer, 2))
    folder = _existing(Path(run.output_dir or "outputs/train"))
    free = shutil.disk_usage(folder).free
    if count * each > free:
        seldom = max(-(-run.steps // max(free // each - 1, 1)), 1) if free >= each else run.steps
        yield Trap(
            "checkpoints_fill_disk",
            f"{count:,} checkpoints of {format_bytes(each)} (weights and optimizer state) make "
            f"{format_bytes(count * each)}, and {folder} has {format_bytes(free)} free. Save less often: "
            f"--save_freq={seldom}, or name an --output_dir on another disk.",
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
