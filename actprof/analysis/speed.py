"""What limits a training step, in words, and what would help against it."""

from __future__ import annotations

from actprof.results import Result
from actprof.units import format_seconds

# By what the step waits for; the first that fits the cell comes first.
_HELP = {
    "launches": (
        "a larger batch: the same launches for more samples",
        "torch.compile with CUDA graphs (mode='reduce-overhead'): one launch for many kernels",
    ),
    "arithmetic": (
        "smaller images: fewer tokens and smaller feature maps",
        "bf16 autocast: tensor cores at twice the rate of TF32 (lerobot allows TF32 already)",
    ),
    "bandwidth": (
        "attention without materialised maps (--change fused_attention)",
        "smaller images, or bf16: less to read and write",
    ),
    "data": (
        "more workers (--num_workers), or a decoder that is faster",
        "images resized when they are recorded, or stored as images instead of video",
    ),
}


def what_helps(limited_by: str) -> tuple[str, ...]:
    """Return what would make a step faster that waits for `limited_by`; nothing when that is not known."""
    return _HELP.get(limited_by, ())


def speed_text(result: Result) -> str:
    """Return `442 ms per step (309 to 619 ms), 72.3 samples/s`, or nothing when it is not known."""
    seconds, rate = result.step_seconds, result.samples_per_second
    if seconds is None or rate is None:
        return ""
    band = f"{format_seconds(seconds.low)} to {format_seconds(seconds.high)}"
    return f"{format_seconds(seconds.median)} per step ({band}), {rate:,.1f} samples/s"


def limit_shares(result: Result) -> str:
    """Return `arithmetic 68 %, bandwidth 32 %`, the largest first, or nothing when it is not known."""
    if result.work is None:
        return ""
    shares = sorted(result.work.shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)
