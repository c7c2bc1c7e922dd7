"""The GPUs of this machine, as NVIDIA's management library sees them; the only module that asks it."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    driver: str


def local_gpus(nvml: Any = None) -> tuple[LocalGpu, ...]:
    """Return the GPUs of this machine; none where there is no driver.

    Args:
        nvml: stands for the module `pynvml`, in tests.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
        return tuple(_describe(nvml, index, driver) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:  # a driver that is there but does not answer
        return ()
    finally:
        nvml.nvmlShutdown()


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
    )
