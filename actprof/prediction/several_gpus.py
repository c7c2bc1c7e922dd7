"""What several GPUs of a run come to, in words: together, and what sharding would save of each."""

from __future__ import annotations

from actprof.cell import Cell
from actprof.results import Result
from actprof.units import format_bytes
from actprof.words import rate_text

_BUCKETS = "gradient buckets"  # of DDP alone
# What each GPU holds as a whole under DDP, and a part of under FSDP.
_SHARDED = ("parameters", "gradients", "optimizer state")
_LITTLE = 0.1  # of the process


def process_text(cell: Cell) -> str:
    """Return what a process takes of its GPU."""
    return "reserved + CUDA context" if cell.world_size == 1 else "reserved + context and NCCL"


def together_text(result: Result) -> str:
    """Return what all GPUs do together: `batch 64 for each step, 138 samples/s`."""
    cell = result.cell
    speed = result.samples_per_second
    each = f"batch {cell.global_samples} for each step"
    rate = "" if speed is None else f", {rate_text(speed)} samples/s"
    return f"{each}{rate}"


def sharding_text(result: Result) -> str:
    """Return the most that FSDP would take off each GPU of a run under DDP; nothing where it is not known.

    The parts of what is held at the peak that other GPUs would hold; what is gathered again is left out.
    """
    cell, held = result.cell, result.breakdown
    if cell.strategy != "ddp" or cell.world_size == 1 or held is None or not result.peak_process_bytes:
        return ""
    whole = sum(held.by_kind.get(kind, 0) for kind in _SHARDED)
    saved = whole - whole // cell.world_size + held.by_kind.get(_BUCKETS, 0)
    share = saved / result.peak_process_bytes
    verdict = "little to gain" if share < _LITTLE else "actprof predict --strategy fsdp says what it takes"
    return f"at most {format_bytes(saved)} ({share:.0%}) less on each GPU; {verdict}"
