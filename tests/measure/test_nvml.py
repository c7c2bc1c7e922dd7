"""This machine's GPUs, on a stand-in for NVML."""

from __future__ import annotations

from types import SimpleNamespace

from actprof.measure.nvml import LocalGpu, local_gpus


class FakeNvml:
    """Two GPUs, or a driver that fails."""

    class NVMLError(Exception):
        """As pynvml's."""

    def __init__(self, fails=""):
        self.fails = fails
        self.open = 0

    def _call(self, name):
        if self.fails == name:
            raise self.NVMLError(name)

    def nvmlInit(self):  # noqa: N802
        self._call("init")
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "595.84"

    def nvmlDeviceGetCount(self):  # noqa: N802
        self._call("count")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"GPU number {handle}"

    def nvmlDeviceGetMemoryInfo(self, _handle):  # noqa: N802
        return SimpleNamespace(total=100, used=30, free=70)


def test_every_gpu_is_described():
    """Name, memory and driver of each; NVML is left as it was found."""
    nvml = FakeNvml()

    assert (
        LocalGpu(index=0, name="GPU number 0", total_bytes=100, used_bytes=30, free_bytes=70, driver="595.84")
        == local_gpus(nvml)[0]
    )
    assert 0 == nvml.open


def test_no_driver_is_no_gpu():
    """Where NVML does not start, or does not answer, the list is empty and nothing is left open."""
    assert () == local_gpus(FakeNvml(fails="init"))
    broken = FakeNvml(fails="count")
    assert () == local_gpus(broken)
    assert 0 == broken.open
