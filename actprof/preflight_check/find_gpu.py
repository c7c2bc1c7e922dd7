"""The GPU that a run is meant for: the one named, that of a job, or the one in this machine as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actprof.errors import UsageError
from actprof.hardware import builtin_catalogue, find_device
from actprof.hardware.entries import parse_capacity
from actprof.hardware.jobs import job_machine
from actprof.measuring import nvml
from actprof.training_command.command_line import Given
from actprof.units import format_bytes, parse_bytes

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGpu:
    """The GPU of a run.

    Attributes:
        gpu: the catalogue's name, or None where only the capacity is known.
        capacity_bytes: None takes the catalogue's figure.
        count: GPUs of that machine; None where nobody knows.
        place: where it is, in words.
        holders: who holds its memory, where it is in this machine.
    """

    gpu: str | None
    capacity_bytes: int | None = None
    used_by_others_bytes: int = 0
    count: int | None = None
    place: str
    here: bool = False
    holders: tuple[nvml.CardProcess, ...] = ()


def run_gpu(
    given: Given, *, job_target: str | None, processes: int, environment: Mapping[str, str]
) -> RunGpu:
    """Return the GPU of a run.

    Args:
        given: a capacity alone stands for a card of that size.
        job_target: `--job.target` of a run on Hugging Face Jobs.
        processes: of the run on one machine: as many GPUs, of which the fullest decides.
        environment: of the run; `CUDA_VISIBLE_DEVICES` counts where nothing names another machine.

    Raises:
        UsageError: nothing says which GPU, or one that nobody knows.
    """
    used = parse_bytes(given.used_by_others) if given.used_by_others else 0
    size = None if given.capacity is None else parse_capacity(given.capacity)
    if given.gpu is not None or size is not None:
        card = find_device(given.gpu, size, used, catalogue=builtin_catalogue()).gpu
        name = None if given.gpu is None else card.name
        place = name or f"a GPU with {format_bytes(card.capacity_bytes)}"
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


def _gpu_here(processes: int, used: int, environment: Mapping[str, str]) -> RunGpu:
    gpus = nvml.usable_gpus(environment)
    if not gpus and nvml.usable_gpus({}):
        raise UsageError(
            f"{_VISIBLE}={environment[_VISIBLE]} hides every GPU of this machine from the run; "
            "name one that is there, or the card that the run is for with --gpu"
        )
    taken = gpus[: max(processes, 1)]
    device = find_device(None, None, used, catalogue=builtin_catalogue(), here=taken)
    fullest = min(taken, key=lambda gpu: gpu.free_bytes)
    known = fullest.identify(builtin_catalogue()) is not None
    capacity = device.gpu.capacity_bytes
    free = format_bytes(min(fullest.free_bytes, capacity))
    return RunGpu(
        gpu=device.gpu.name if known else None,
        capacity_bytes=None if known else capacity,
        used_by_others_bytes=device.used_by_others_bytes,
        count=len(gpus),
        place=f"the {device.gpu.name} here (GPU {fullest.index}, {free} free)",
        here=True,
        holders=nvml.processes_on(fullest.uuid or fullest.index),
    )
