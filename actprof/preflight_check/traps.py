"""Traps: what a command does that its author may not expect, each with a name and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from actprof.allocator.config import AllocatorConfig
from actprof.cell_field import parse_resolution
from actprof.policies import policy_names, policy_spec
from actprof.policies.lerobot_versions import lerobot_version
from actprof.policies.spec import PolicySpec
from actprof.preflight_check.host_memory import host_traps
from actprof.preflight_check.ignored_flags import ignored_flags
from actprof.preflight_check.policy_inputs import Inputs
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.release_traps import release_traps
from actprof.preflight_check.training_run import TrainingRun, takes_precision
from actprof.preflight_check.trap import Trap
from actprof.training_command.launcher import Launch
from actprof.units import format_bytes

_LARGE_PIXELS = 1920 * 1080
# Tensors of a trained parameter's size that each optimizer keeps; those in 8 bits have one byte an element.
_STATES = {"preset": 2, "adamw": 2, "adam": 2, "sgd": 1, "adamw_8bit": 2}
_FP32_BYTES = 4


def find_traps(answer: Preflight) -> tuple[Trap, ...]:
    """Return the traps of a run, in the order in which they stand below."""
    seen = answer.command.seen_environment()
    return (
        *run_traps(answer.run, answer.launch, seen),
        *_of_training(answer),
        *_of_allocator(answer),
        *_of_checkpoints(answer),
        *(() if answer.host is None else host_traps(answer.host)),
    )


def run_traps(run: TrainingRun, launch: Launch, seen: Mapping[str, str]) -> tuple[Trap, ...]:
    """Return the traps of a run that hold whatever its memory is."""
    refused = (
        Trap("refused", f"lerobot-train refuses this command: {text}.", stops=True) for text in run.refused
    )
    return (*refused, *release_traps(run, launch, seen))


def _of_training(answer: Preflight) -> Iterator[Trap]:
    run = answer.run
    yield from _of_precision(run, answer.launch.precision)
    yield from _of_start(run)
    if answer.inputs is not None:
        yield from _of_inputs(run, answer.inputs)
    yield from ignored_flags(run, answer.command.arguments)


def _of_precision(run: TrainingRun, told: str) -> Iterator[Trap]:
    spec = _spec(run)
    if spec is None:
        return
    if spec.dtype:
        dtype = run.overrides.get("dtype", spec.dtype)
        own = f"{spec.title} takes its precision from --policy.dtype alone, here {dtype}"
        if told != "fp32" and not takes_precision(replace(run, use_amp=False), told):
            yield Trap("precision_ignored", f"accelerate's mixed precision {told} is ignored: {own}.")
        if run.use_amp:
            yield Trap("use_amp_ignored", f"--policy.use_amp=true is ignored in training: {own}.")
    elif run.use_amp:
        over = f", and takes the place of accelerate's {told}" if told not in ("fp32", "fp16") else ""
        flag = f"{spec.title}'s use_amp, on by default," if spec.use_amp else "--policy.use_amp=true"
        leave = "say --policy.use_amp=false" if spec.use_amp else "leave it out"
        yield Trap(
            "use_amp",
            f"{flag} trains in fp16 with loss scaling in lerobot "
            f"{lerobot_version()} (autocast's default on CUDA){over}. Releases 0.4.0 to 0.6.0 "
            f"ignored it. For bf16 {leave} and start with `accelerate launch --mixed_precision=bf16`.",
        )


def _of_start(run: TrainingRun) -> Iterator[Trap]:
    spec = _spec(run)
    if spec is None or not spec.bases or run.pretrained:
        return
    frozen = ""
    if run.loads_backbone is False:
        frozen = "; its vision-language model stays frozen at random weights, as load_vlm_weights is false"
        frozen = frozen if run.overrides.get("train_expert_only", True) else ""
    base = next(iter(spec.bases))
    yield Trap(
        "from_scratch",
        f"{spec.title} starts from random weights here{frozen}. People start from {base}: "
        f"--policy.path={base} instead of --policy.type={run.policy_type}.",
    )


def _spec(run: TrainingRun) -> PolicySpec | None:
    return policy_spec(run.policy_type) if run.policy_type in policy_names() else None


def _of_inputs(run: TrainingRun, inputs: Inputs) -> Iterator[Trap]:
    largest, stride = inputs.largest, policy_spec(run.policy_type).token_pixels
    if stride and largest:
        width, height = parse_resolution(largest)
        if width * height >= _LARGE_PIXELS:
            yield Trap(
                "large_camera",
                f"a camera delivers {largest}: {-(-width // stride) * -(-height // stride):,} tokens for the "
                "encoder, whose attention grows with the square of all tokens. 320x240 has "
                f"{-(-320 // stride) * -(-240 // stride)}; resize the dataset's videos before training.",
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
            f"the image transforms resize frames from {inputs.raw} to {inputs.sizes} while "
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
    each = checkpoint_bytes(answer)
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


def checkpoint_bytes(answer: Preflight) -> int:
    """Return the bytes of one checkpoint: the weights (of an adapter only itself) and the optimizer's state.

    Where the policy's facts are not known, all its parameters are taken to be trained in fp32.
    """
    run, states = answer.run, _STATES.get(answer.run.optimizer, 2)
    if answer.facts is None:
        parameters = 0 if answer.result is None else answer.result.parameters
        return parameters * _FP32_BYTES * (1 + states)
    rows = answer.facts.parameters
    saved = sum(row.bytes for row in rows if row.trainable or not run.peft)
    trained = [row for row in rows if row.trainable and not row.is_buffer]
    in_8_bits = run.optimizer == "adamw_8bit"
    return saved + states * sum(row.count if in_8_bits else row.bytes for row in trained)


def checkpoint_count(run: TrainingRun) -> int:
    """Return how many checkpoints the run leaves: every `save_freq` steps, and after the last."""
    if run.save_freq <= 0:
        return 1
    return -(-run.steps // run.save_freq)


def _existing(folder: Path) -> Path:
    """Return the nearest folder above that exists, where the new one will be made."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.is_dir())
