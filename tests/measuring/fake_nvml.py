"""A stand-in for the module `pynvml`: GPUs whose figures a test sets, and functions that it makes fail."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace

GIB = 1024**3


@dataclass
class FakeGpu:
    """What the fake says of one GPU; processes by id, with their bytes or None."""

    name: str = "NVIDIA GeForce RTX 3090"
    uuid: str = "GPU-0"
    total: int = 24 * GIB
    used: int = 0
    capability: tuple[int, int] = (8, 6)
    processes: dict[int, int | None] = field(default_factory=dict)
    drawing: dict[int, int | None] = field(default_factory=dict)
    clock: int = 1700
    temperature: int = 50
    reasons: int = 0
    busy: int = 90


class FakeNvml:
    """As much of `pynvml` as actprof asks.

    `fails` maps a function, without `nvml`, to the value of its error; `programs` a process id to its name;
    `looks` counts how often a GPU's memory was asked, `open` how often NVML is open.
    """

    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_FOUND, NVML_ERROR_FUNCTION_NOT_FOUND = 3, 6, 13
    NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED = 9, 15, 16
    NVML_ERROR_UNKNOWN, NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 999, 1, 0

    class NVMLError(Exception):
        """As pynvml's: carries `value`."""

        def __init__(self, value):
            super().__init__(value)
            self.value = value

    def __init__(self, *gpus, fails=None, programs=None):
        self.gpus, self.fails, self.programs = gpus or (FakeGpu(),), fails or {}, programs or {}
        self.open = self.looks = 0

    def __getattr__(self, function):
        """Return `nvmlX`: it answers as `ANSWERS` says, or fails."""
        name = function.removeprefix("nvml")

        def ask(*arguments):
            if name in self.fails:
                raise self.NVMLError(self.fails[name])
            return ANSWERS[name](self, *arguments)

        return ask

    def opened(self, times):
        self.open += times

    def memory(self, gpu):
        self.looks += 1
        return SimpleNamespace(total=gpu.total, used=gpu.used, free=gpu.total - gpu.used)

    def wait_for_looks(self, count):
        """Return when the memory of the GPUs was asked `count` times more."""
        goal, deadline = self.looks + count, time.monotonic() + 30
        while self.looks < goal and time.monotonic() < deadline:
            time.sleep(0.001)
        assert self.looks >= goal


def listed(processes):
    return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in list(processes.items())]


ANSWERS = {
    "DeviceGetUtilizationRates": lambda _, gpu: SimpleNamespace(gpu=gpu.busy, memory=0),
    "Init": lambda nvml: nvml.opened(1),
    "Shutdown": lambda nvml: nvml.opened(-1),
    "SystemGetDriverVersion": lambda _: "595.84",
    "SystemGetProcessName": lambda nvml, pid: nvml.programs[pid],
    "DeviceGetCount": lambda nvml: len(nvml.gpus),
    "DeviceGetHandleByIndex": lambda nvml, index: nvml.gpus[index],
    "DeviceGetHandleByUUID": lambda nvml, uuid: next(gpu for gpu in nvml.gpus if gpu.uuid == uuid),
    "DeviceGetName": lambda _, gpu: gpu.name,
    "DeviceGetUUID": lambda _, gpu: gpu.uuid,
    "DeviceGetCudaComputeCapability": lambda _, gpu: gpu.capability,
    "DeviceGetMemoryInfo": lambda nvml, gpu: nvml.memory(gpu),
    "DeviceGetClockInfo": lambda _, gpu, _kind: gpu.clock,
    "DeviceGetTemperature": lambda _, gpu, _sensor: gpu.temperature,
    "DeviceGetCurrentClocksEventReasons": lambda _, gpu: gpu.reasons,
    "DeviceGetCurrentClocksThrottleReasons": lambda _, gpu: gpu.reasons,
    "DeviceGetComputeRunningProcesses": lambda _, gpu: listed(gpu.processes),
    "DeviceGetGraphicsRunningProcesses": lambda _, gpu: listed(gpu.drawing),
}
