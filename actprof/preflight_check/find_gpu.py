"""The GPU that a run is meant for: the one named, that of a job, or the one in this machine as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.errors import UsageError
from actprof.hardware import builtin_catalogue, find_gpu
from actprof.hardware.entries import parse_capacity
from actprof.hardware.jobs import job_machine
from actprof.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from actprof.measuring.nvml import LocalGpu

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds memory of the GPU; 0 bytes: the driver does not say."""

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGpu:
    """The GPU of a run.

    Attributes:
        gpu: the catalogue's name, or None where only the capacity is known.
        capacity_bytes: None takes the catalogue's figure.
        used_by_others_bytes: what other programs hold of it.
        count: GPUs of that machine; None where nobody knows.
        place: where it is, in words.
        here: it is in this machine.
        holders: who holds its memory.
    """

    gpu: str | None
    capacity_bytes: int | None = None
    used_by_others_bytes: int = 0
    count: int | None = None
    place: str
    here: bool = False
    holders: tuple[Holder, ...] = ()


def run_gpu(
    *,
    gpu: str | None,
    capacity: str | None,
    used_by_others: str | None,
    job_target: str | None,
    processes: int,
    environment: Mapping[str, str],
) -> RunGpu:
    """Return the GPU of a run.

    Args:
        gpu: a card of the catalogue, as the user names it.
        capacity: its memory; alone, it stands for a card of that size.
        used_by_others: what other programs hold of it.
        job_target: `--job.target` of a run on Hugging Face Jobs.
        processes: of the run on one machine: as many GPUs, of which the fullest decides.
        environment: of the run; `CUDA_VISIBLE_DEVICES` counts where nothing names another machine.

    Raises:
        UsageError: nothing says which GPU, or one that nobody knows.
    """
    used = parse_bytes(used_by_others) if used_by_others else 0
    size = None if capacity is None else parse_capacity(capacity)
    if gpu is not None or size is not None:
        name = None if gpu is None else find_gpu(gpu).name
        place = name or f"a GPU with {format_bytes(size or 0)}"
        return RunGpu(gpu=name, capacity_bytes=size, used_by_others_bytes=used, place=place)
    if job_target is not None:
        machine = job_machine(job_target)
        return RunGpu(
            gpu=machine.gpu,
            used_by_others_bytes=used,
            count=machine.count,
            place=f"the {machine.gpu} of Hugging Face's {job_target}",
        )
    return _gpu_here(processes, used, environment)


def gpus_here(environment: Mapping[str, str]) -> tuple[LocalGpu, ...]:
    """Return the GPUs of this machine that a run with `environment` sees, in its order."""
    from actprof.measuring.choose import visible_gpus
    from actprof.measuring.nvml import local_gpus

    return visible_gpus(local_gpus(), environment.get(_VISIBLE))


def _gpu_here(processes: int, used: int, environment: Mapping[str, str]) -> RunGpu:
    from actprof.measuring.choose import TORCH_SHARE, identify
    from actprof.measuring.gpu_processes import processes_on

    gpus = gpus_here(environment)
    if not gpus and gpus_here({}):
        raise UsageError(
            f"{_VISIBLE}={environment[_VISIBLE]} hides every GPU of this machine from the run; "
            "name one that is there, or the card that the run is for with --gpu"
        )
    if not gpus:
        raise UsageError(
            "there is no NVIDIA GPU here; name the one that the run is for, like --gpu 'RTX 3090' "
            "(`actprof gpus` lists them), or give its memory, like --capacity 24GiB"
        )
    fullest = min(gpus[: max(processes, 1)], key=lambda gpu: gpu.free_bytes)
    known = identify(fullest, builtin_catalogue())
    capacity = known.capacity_bytes if known else int(TORCH_SHARE * fullest.total_bytes)
    name = known.name if known else fullest.name.removeprefix("NVIDIA ")
    holders = [
        Holder(pid=process.pid, name=process.name, used_bytes=process.used_bytes)
        for process in processes_on(fullest.uuid or fullest.index)
    ]
    free = format_bytes(min(fullest.free_bytes, capacity))
    return RunGpu(
        gpu=known.name if known else None,
        capacity_bytes=None if known else capacity,
        used_by_others_bytes=used or max(capacity - fullest.free_bytes, 0),
        count=len(gpus),
        place=f"the {name} here (GPU {fullest.index}, {free} free)",
        here=True,
        holders=tuple(holders),
    )
