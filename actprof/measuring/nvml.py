"""The GPUs of this machine, as NVIDIA's management library (NVML) sees them, and how it is opened and closed.

Asking starts no CUDA context and takes no memory of a GPU. Where there is no driver there is no GPU, and
nothing here raises for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGpu:
    """One GPU of this machine; sizes are bytes.

    Attributes:
        index: NVML's, which is PCI order.
        name: the product's name.
        total_bytes: NVML's figure, a little above what torch reports as `total_memory`.
        used_bytes, free_bytes: at the moment of asking, over all processes.
        driver: version of the driver.
        uuid: `GPU-…`, as `CUDA_VISIBLE_DEVICES` takes it; empty when the driver does not say.
        compute_capability: (major, minor); (0, 0) when the driver does not say.
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    driver: str
    uuid: str = ""
    compute_capability: tuple[int, int] = (0, 0)


def local_gpus(nvml: Any = None) -> tuple[LocalGpu, ...]:
    """Return the GPUs of this machine that answer; none where there is no driver.

    Args:
        nvml: stands for the module `pynvml`, in tests.
    """
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


@contextmanager
def open_nvml(nvml: Any = None) -> Iterator[Any]:
    """Open NVML for a `with` block that gets its module, or None where NVML does not start.

    NVML counts: it stays open for others that opened it before.

    Args:
        nvml: stands for the module `pynvml`, in tests.
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


def optional[T](nvml: Any, ask: Callable[[], T]) -> T | None:
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
