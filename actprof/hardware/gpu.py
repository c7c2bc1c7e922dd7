"""One GPU as a plain frozen record: what it holds, how fast it is, and where each figure comes from.

A figure that nobody published is None, never a guess; an estimate says so in `sources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actprof.records import to_plain

SCHEMA_VERSION = 1
NVIDIA = "NVIDIA"  # of another vendor's GPU the capacity alone is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A kind of GPU, as PyTorch and NVIDIA's data sheets describe it.

    Attributes:
        name: the catalogue's name (`RTX 3090`); unique within a catalogue.
        aliases: other names that mean exactly this GPU, such as the one that torch reports.
        vendor: `NVIDIA`, or who else made it; then its capacity alone is known.
        generation: the name of its architecture (`Ampere`); empty when not known.
        capacity_bytes: `torch.cuda.get_device_properties(0).total_memory`.
        context_bytes: what one process takes beyond its PyTorch segments (CUDA context, loaded kernels).
        compute_capability: (major, minor).
        memory_bandwidth_bytes_per_s: peak of the device memory.
        nvlink_bytes_per_s: of all links of one GPU, both directions together; None where it has none, or has
            them only with a bridge.
        fp32_flops: peak of the ordinary cores, in FLOP/s.
        tf32_flops: dense tensor-core peak; None where the architecture has no such mode.
        bf16_flops, fp16_flops: the same, with fp32 accumulation.
        threads_per_multiprocessor: that one of them holds at once.
        shared_memory_bytes: that one block can have, opted in.
        l2_bytes: of the level-2 cache.
        clock_hz: of the multiprocessors, as `cudaDeviceProp.clockRate` says: the boost clock of a GeForce.
        sustained_clock_hz: under a load that goes on, where the board has not the power for `clock_hz`.
        sustained_bandwidth_bytes_per_s: of a copy, where it is less than other cards' nine tenths.
        memory_clock_hz: None where nothing that is asked depends on it.
        power_watts: highest power of the board.
        cublas_workspace_bytes: of one cuBLAS workspace where a `CUBLAS_WORKSPACE_CONFIG` sets it, as where a
            card plays another; None takes PyTorch's own for the compute capability.
        sources: name of a field above to the text of its source; `estimate: …` marks an estimate.
    """

    name: str
    aliases: tuple[str, ...] = ()
    vendor: str = NVIDIA
    generation: str = ""
    capacity_bytes: int
    context_bytes: int
    compute_capability: tuple[int, int]
    memory_bandwidth_bytes_per_s: float | None = None
    nvlink_bytes_per_s: float | None = None
    fp32_flops: float | None = None
    tf32_flops: float | None = None
    bf16_flops: float | None = None
    fp16_flops: float | None = None
    multiprocessors: int | None = None
    threads_per_multiprocessor: int | None = None
    shared_memory_bytes: int | None = None
    l2_bytes: int | None = None
    clock_hz: float | None = None
    sustained_clock_hz: float | None = None
    sustained_bandwidth_bytes_per_s: float | None = None
    memory_clock_hz: float | None = None
    power_watts: float | None = None
    cublas_workspace_bytes: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def is_estimate(self, field_name: str) -> bool:
        """Tell whether the figure of `field_name` is an estimate or unconfirmed."""
        return self.sources.get(field_name, "").startswith(("estimate:", "unconfirmed:"))

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field."""
        return {"schema_version": SCHEMA_VERSION, **to_plain(self)}
