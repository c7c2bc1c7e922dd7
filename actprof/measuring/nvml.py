"""The GPUs of this machine and who is on them, as NVIDIA's management library (NVML) sees them.

Asking starts no CUDA context and takes no memory of a GPU. Where there is no driver there is no GPU, and
nothing here raises for that. A parameter `nvml` stands for the module `pynvml`, in tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from actprof.hardware.device import LocalGpu, visible_gpus

_Told = TypeVar("_Told")
_LISTS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardProcess:
    """A process that holds memory of a GPU.

    Attributes:
        pid: as NVML lists it; in a container that may be the host's.
        name: of the program, without its folder; empty when nobody tells.
        used_bytes: of that GPU; 0 when the driver does not say.
    """

    pid: int
    name: str
    used_bytes: int


def local_gpus(nvml: Any = None) -> tuple[LocalGpu, ...]:
    """Return the GPUs of this machine that answer; none where there is no driver."""
    with open_nvml(nvml) as opened:
        if opened is None:
            return ()
        try:
            driver = opened.nvmlSystemGetDriverVersion()
            count = opened.nvmlDeviceGetCount()
        except opened.NVMLError:  # a driver that is there but does not answer
            return ()
        described = [optional(opened, partial(_describe, opened, index, driver)) for index in range(count)]
        return tuple(gpu for gpu in described if gpu is not None)


def usable_gpus(environment: Mapping[str, str] = os.environ) -> tuple[LocalGpu, ...]:
    """Return this machine's GPUs that `CUDA_VISIBLE_DEVICES` shows: a GPU that the user hid is not ours."""
    return visible_gpus(local_gpus(), environment.get("CUDA_VISIBLE_DEVICES"))


def processes_on(which: int | str, *, nvml: Any = None) -> tuple[CardProcess, ...]:
    """Return the processes on a GPU (NVML's index or its UUID), the largest first; none without an answer."""
    with open_nvml(nvml) as opened:
        if opened is None:
            return ()
        try:
            listed = listed_processes(opened, device_handle(opened, which))
        except opened.NVMLError:
            return ()
        found = [
            CardProcess(pid=pid, name=_name(opened, pid), used_bytes=used or 0)
            for pid, used in listed.items()
        ]
        return tuple(sorted(found, key=lambda process: (-process.used_bytes, process.pid)))


def listed_processes(nvml: Any, handle: Any) -> dict[int, int | None]:
    """Return process id -> bytes on the GPU (None: not told) of all that compute or draw on it.

    A process that does both stands in both of NVML's lists with the same bytes; it is counted once.
    """
    found: dict[int, int | None] = {}
    for name in _LISTS:
        for process in optional(nvml, partial(getattr(nvml, name), handle)) or ():
            used = process.usedGpuMemory
            known = found.get(process.pid)
            found[process.pid] = known if used is None else max(known or 0, int(used))
    return found


@contextmanager
def open_nvml(nvml: Any = None) -> Iterator[Any]:
    """Open NVML for a `with` block that gets its module, or None where NVML does not start.

    NVML counts: it stays open for others that opened it before.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield nvml
    finally:
        with suppress(nvml.NVMLError):  # a GPU that was lost meanwhile
            nvml.nvmlShutdown()


def device_handle(nvml: Any, which: int | str) -> Any:
    """Return NVML's handle of a GPU, named by NVML's index or by its UUID.

    Raises:
        nvml.NVMLError: there is no such GPU, or it does not answer.
    """
    if isinstance(which, int):
        return nvml.nvmlDeviceGetHandleByIndex(which)
    return nvml.nvmlDeviceGetHandleByUUID(which)


def optional(nvml: Any, ask: Callable[[], _Told]) -> _Told | None:
    """Return what `ask` does, None when NVML refuses (not supported, not permitted, GPU lost)."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def is_lost(nvml: Any, error: BaseException) -> bool:
    """Tell whether `error` says that the GPU, or its driver, is gone until somebody resets it."""
    lost = (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
    return getattr(error, "value", None) in lost


def _describe(nvml: Any, index: int, driver: str) -> LocalGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return LocalGpu(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        free_bytes=int(memory.free),
        driver=driver,
        uuid=optional(nvml, lambda: str(nvml.nvmlDeviceGetUUID(handle))) or "",
        compute_capability=optional(nvml, lambda: _capability(nvml, handle)) or (0, 0),
    )


def _capability(nvml: Any, handle: Any) -> tuple[int, int]:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return int(major), int(minor)


def _name(nvml: Any, pid: int) -> str:
    told = optional(nvml, lambda: str(nvml.nvmlSystemGetProcessName(pid)))
    if told:
        return PurePosixPath(told.split(" -", 1)[0]).name  # some drivers add the options
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
