"""What limits a training step, in words, and what would help against it."""

from __future__ import annotations

from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.policies import policy_spec
from actprof.policies.changes import read_change
from actprof.policies.precision import autocast_of
from actprof.results import Result
from actprof.units import format_seconds

_BF16 = "bf16 autocast"
# By what the step waits for; the first that fits the cell comes first.
_HELP = {
    "launches": (
        "a larger batch: the same launches for more samples",
        "torch.compile with CUDA graphs (mode='reduce-overhead'): one launch for many kernels",
    ),
    "arithmetic": (
        "smaller images, resized in the loader or when they are recorded: fewer tokens and feature maps",
        f"{_BF16}: tensor cores at up to twice the rate of TF32, which lerobot allows already",
    ),
    "bandwidth": (
        "attention without materialised maps (--change fused_attention)",
        "smaller images, resized in the loader or when they are recorded: less to read and write",
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
    return said if result is None else tuple(text for text in said if _applies(text, result))


def _applies(text: str, result: Result) -> bool:
    cell = result.cell
    if text.startswith("a larger batch"):
        return result.max_batch_size is None or cell.batch_size < result.max_batch_size
    if text.startswith(_BF16):
        return autocast_of(cell) == "fp32" and _has_bf16(result.gpu.name)
    if "fused_attention" in text:
        fits = read_change("fused_attention").place(policy_spec(cell.policy).parts) is not None
        return fits and "fused_attention" not in cell.changes
    return True


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
    """Return `arithmetic 68 %, bandwidth 32 %`, the largest first, or nothing when it is not known.

    Where a loop waits for data in a `data_share` of its time, the step's shares are of the rest.
    """
    if result.work is None:
        return ""
    of_loop = {name: share * (1 - data_share) for name, share in result.work.shares.items()}
    shares = sorted({**of_loop, "data": data_share}.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)
