"""Turn profiles into a verdict: `fits`, `tight` or `oom`, with the reason in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.out_of_memory import OutOfMemory
from actprof.replay.profile import MemoryProfile
from actprof.results import GpuUse, Verdict
from actprof.units import format_bytes

# Below this share of the device's capacity a run that gets through counts as tight: the context grows as
# kernels are loaded, other plans of cuDNN's are chosen, a desktop opens a window.
HEADROOM_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why, and the bytes left of the device at the run's highest moment (negative: lacking)."""

    verdict: Verdict
    reason: str
    headroom_bytes: int


def judge(
    unlimited: MemoryProfile,
    limited: MemoryProfile,
    *,
    capacity_bytes: int,
    available_bytes: int,
    most_reserved_bytes: int = 0,
) -> Judgement:
    """Return the verdict on a run, replayed on a device without limit and on the named device.

    Of that device's capacity the run's segments can have `available_bytes`. `most_reserved_bytes` are those
    of repeated runs, whose plans cuDNN chooses by time, without limit.
    """
    headroom = available_bytes - unlimited.most_reserved_bytes
    least = int(HEADROOM_SHARE * capacity_bytes)
    if limited.oom is not None:
        return Judgement(Verdict.OOM, _where_it_runs_out(limited.oom, available_bytes), headroom)
    if limited.retries or headroom < 0:
        times = "once" if limited.retries == 1 else f"{limited.retries} times"
        flushes = f"flushes its cache ({times} in {limited.steps} steps)"
        saves = flushes if limited.retries else "gives cached segments back"
        reason = f"it runs, but only because the allocator {saves}"
        return Judgement(Verdict.TIGHT, reason, available_bytes - limited.most_reserved_bytes)
    if headroom < least:
        reason = (
            f"it runs with {format_bytes(headroom)} to spare, less than {HEADROOM_SHARE:.0%} of the device"
        )
        return Judgement(Verdict.TIGHT, reason, headroom)
    if available_bytes - most_reserved_bytes < least:
        reason = (
            "it runs, but which plans cuDNN takes decides how much is left: some repeated runs leave less "
            f"than {HEADROOM_SHARE:.0%} of the device"
        )
        return Judgement(Verdict.TIGHT, reason, headroom)
    return Judgement(Verdict.FITS, f"it runs with {format_bytes(headroom)} to spare", headroom)


def too_small_reason(gpu: GpuUse) -> str:
    """Return why nothing runs on a device smaller than its CUDA context, or nothing for a larger one."""
    if gpu.capacity_bytes > gpu.context_bytes:
        return ""
    return f"the device is smaller than CUDA's own context of {format_bytes(gpu.context_bytes)}"


def compiled_reason(eager_bytes: int) -> str:
    """Return why nothing is known of a compiled policy that needs `eager_bytes` when it is not compiled."""
    return (
        "compile_model hands the policy to torch.compile, which no trace shows: inductor recomputes and "
        "fuses, and the CUDA graphs of reduce-overhead and max-autotune keep pools of their own; without it "
        f"the process needs {format_bytes(eager_bytes)}"
    )


def _where_it_runs_out(oom: OutOfMemory, available_bytes: int) -> str:
    if available_bytes <= 0:
        return "nothing is left for it beside the CUDA context and what others hold"
    if oom.step == 0:
        return f"it runs out while the run is set up, asking for {format_bytes(oom.segment_bytes)}"
    where = f" in {oom.module}" if oom.module else ""
    size = format_bytes(oom.segment_bytes)
    return f"it runs out in the {oom.phase} phase of step {oom.step}{where}, asking for {size}"
