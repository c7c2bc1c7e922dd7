"""What limits a training step, in words, and what would help against it."""

from __future__ import annotations

from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.policies import policy_spec
from actprof.policies.changes import fitting_changes
from actprof.policies.precision import autocast_of
from actprof.results import Result
from actprof.units import format_seconds
from actprof.words import LIMITS

_BF16, _BY_FIELD = "bf16 autocast", "bf16 (--policy.dtype=bfloat16)"
_FUSED, _SMALLER = "attention without stored maps", "smaller images"
# By what the step waits for; the first that fits the cell comes first.
_HELP = {
    "launches": (
        "a larger batch: the same kernel launches for more samples",
        "torch.compile with CUDA graphs (mode='reduce-overhead'): one launch for many kernels",
    ),
    "arithmetic": (
        f"{_SMALLER}, resized in the loader or when they are recorded: fewer tokens and feature maps",
        f"{_BF16}: tensor cores at up to twice the rate of TF32, which lerobot allows already",
    ),
    "bandwidth": (
        _FUSED,
        f"{_SMALLER}, resized in the loader or when they are recorded: less to read and write",
        f"{_BF16}: half the bytes of most tensors",
    ),
    "data": (
        "more workers (--num_workers), or a decoder that is faster (--dataset.video_backend=torchcodec)",
        "images made smaller when they are recorded; actprof loader measures what that brings",
    ),
}


def what_helps(limited_by: str, result: Result | None = None) -> tuple[str, ...]:
    """Return what would make a step faster that waits for `limited_by`; nothing when that is not known.

    What the step of `result` does already, or cannot do, is left out.
    """
    said = _HELP.get(limited_by, ())
    return said if result is None else tuple(filter(None, (_applied(text, result) for text in said)))


def _applied(text: str, result: Result) -> str:
    """Return the text as it fits the cell; nothing where it does not."""
    cell = result.cell
    spec = policy_spec(cell.policy)
    if text.startswith("a larger batch"):
        fits = result.max_batch_size is None or cell.batch_size < result.max_batch_size
    elif text.startswith("torch.compile"):
        fits = not cell.compiled
    elif text.startswith(_BF16):
        fits = autocast_of(cell) == "fp32" and _has_bf16(result.gpu.name)
        text = text.replace(_BF16, _BY_FIELD) if spec.dtype else text
    elif text.startswith(_SMALLER):
        fits = bool(cell.cameras) and not spec.option(cell, spec.resized_by)
    elif text == _FUSED:
        change = next((c.name for c in fitting_changes(spec.parts) if c.family == "attention"), "")
        fits = bool(change) and change not in cell.changes
        text = f"{text} (--change {change})"
    else:
        fits = True
    return text if fits else ""


def _has_bf16(name: str) -> bool:
    try:
        return find_gpu(name).bf16_flops is not None
    except UsageError:  # one that a scenario brought along
        return True


def speed_text(result: Result) -> str:
    """Return `442 ms per step (309 to 619 ms), 72.3 samples/s`, or nothing when it is not known."""
    seconds, rate = result.step_seconds, result.samples_per_second
    if seconds is None or rate is None:
        return ""
    band = f"{format_seconds(seconds.low)} to {format_seconds(seconds.high)}"
    return f"{format_seconds(seconds.median)} per step ({band}), {rate:,.1f} samples/s"


def limit_shares(result: Result, *, data_share: float = 0.0) -> str:
    """Return `arithmetic 68%, memory bandwidth 32%`, the largest first, or nothing when it is not known.

    Where a loop waits for data in a `data_share` of its time, the step's shares are of the rest.
    """
    if result.work is None:
        return ""
    of_loop = {name: share * (1 - data_share) for name, share in result.work.shares.items()}
    shares = sorted({**of_loop, "data": data_share}.items(), key=lambda item: -item[1])
    return ", ".join(f"{LIMITS.get(name, name)} {share:.0%}" for name, share in shares if share >= 0.005)
