"""What share of a data sheet's figures real kernels reach, and what a launch costs the host.

Few numbers, each for a kind of op, each with its source. They are rules of thumb from published measurements,
not fits to the step times that predictions are checked against; how far predictions are off those decides the
band (`hardware.step_band`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SOURCES: Mapping[str, str] = {
    "product": (
        "estimate: large products reach 60 to 80 % of the dense peak with cuBLAS (NVIDIA, Matrix "
        "Multiplication Background User's Guide), convolutions of ResNet widths less"
    ),
    "attention": "FlashAttention-2 (Dao, 2023): 50 to 73 % of the peak on an A100; fp32 kernels less",
    "bandwidth": "estimate: copies reach 80 to 92 % of the peak on NVIDIA GPUs (BabelStream's results)",
    "kernel_seconds": "estimate: an empty kernel takes about 2 us from start to end",
    "forward_seconds": (
        "lerobot pull request 4607: an ACT step of about 1,150 kernels took 28 ms on B200s, busy for 30 % "
        "of it: 24 us a kernel, with what eight processes wait for each other"
    ),
    "backward_seconds": "estimate: as forward, less Python; the engine's bookkeeping remains",
    "foreach_seconds": "estimate: metadata for each tensor of multi_tensor_apply",
    "sync_seconds": "estimate: the copy of one number to the host, and the wake-up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of the peak, and seconds of overhead.

    Attributes:
        product: of the arithmetic peak, for matrix products and convolutions.
        attention: the same, for fused attention.
        bandwidth: of the memory bandwidth, for everything.
        kernel_seconds: a kernel takes no less, however small.
        forward_seconds: of the host, to launch one op from Python: dispatch, autograd, allocator, launch.
        backward_seconds: the same from the C++ engine.
        foreach_seconds: of the host, for each tensor of a `_foreach` op besides.
        sync_seconds: of the host, to wait for a value and go on.
        sources: of each.
    """

    product: float = 0.6
    attention: float = 0.5
    bandwidth: float = 0.85
    kernel_seconds: float = 2e-6
    forward_seconds: float = 20e-6
    backward_seconds: float = 15e-6
    foreach_seconds: float = 0.4e-6
    sync_seconds: float = 15e-6
    sources: Mapping[str, str] = field(default_factory=lambda: SOURCES)


DEFAULT_EFFICIENCY = Efficiency()
