"""This machine's GPUs, on a stand-in for NVML."""

from __future__ import annotations

import pynvml
import pytest
from fake_nvml import ANSWERS, GIB, FakeGpu, FakeNvml

from actprof.hardware import LocalGpu
from actprof.measuring.nvml import local_gpus, open_nvml


def test_every_gpu_is_described():
    """Name, memory, driver, UUID and compute capability of each; NVML is left as it was found."""
    nvml = FakeNvml(FakeGpu(), FakeGpu(name="NVIDIA H200", uuid="GPU-1", used=9 * GIB, capability=(9, 0)))

    assert (
        LocalGpu(
            index=1,
            name="NVIDIA H200",
            total_bytes=24 * GIB,
            used_bytes=9 * GIB,
            free_bytes=15 * GIB,
            driver="595.84",
            uuid="GPU-1",
            compute_capability=(9, 0),
        )
        == local_gpus(nvml)[1]
    )
    assert 0 == nvml.open


def test_what_a_driver_does_not_say_is_empty():
    """An old driver without UUID and compute capability still has GPUs."""
    names = ["DeviceGetUUID", "DeviceGetCudaComputeCapability"]
    nvml = FakeNvml(fails=dict.fromkeys(names, FakeNvml.NVML_ERROR_NOT_SUPPORTED))

    (gpu,) = local_gpus(nvml)

    assert ("", (0, 0)) == (gpu.uuid, gpu.compute_capability)


@pytest.mark.parametrize(
    "function", ["Init", "SystemGetDriverVersion", "DeviceGetCount", "DeviceGetMemoryInfo"]
)
def test_no_answer_is_no_gpu(function):
    """Where NVML does not start, or a GPU does not answer, the list is empty and nothing is left open."""
    nvml = FakeNvml(fails={function: FakeNvml.NVML_ERROR_UNKNOWN})

    assert () == local_gpus(nvml)
    assert 0 == nvml.open


def test_a_lost_gpu_does_not_hide_the_others():
    """The GPUs that answer are described."""
    nvml = FakeNvml(FakeGpu(), FakeGpu(uuid="GPU-1"))
    lost, memory = nvml.gpus[0], nvml.memory

    def memory_of(gpu):
        if gpu is lost:
            raise FakeNvml.NVMLError(FakeNvml.NVML_ERROR_GPU_IS_LOST)
        return memory(gpu)

    nvml.memory = memory_of

    assert [1] == [gpu.index for gpu in local_gpus(nvml)]


def test_a_shutdown_that_fails_is_not_told():
    """Closing NVML after the GPU was lost raises nothing, and hides no error of the block."""
    nvml = FakeNvml(fails={"Shutdown": FakeNvml.NVML_ERROR_GPU_IS_LOST})

    with pytest.raises(KeyError), open_nvml(nvml):
        raise KeyError


def test_the_stand_in_is_like_pynvml():
    """What the fake answers to exists there, and its constants have the same values."""
    constants = [name for name in vars(FakeNvml) if name.startswith("NVML_")]

    assert [] == [name for name in ANSWERS if not callable(getattr(pynvml, f"nvml{name}", None))]
    assert {name: getattr(pynvml, name) for name in constants} == {
        name: getattr(FakeNvml, name) for name in constants
    }


@pytest.mark.gpu
def test_the_real_nvml_describes_the_gpu_that_torch_sees():
    """One of NVML's GPUs has torch's UUID, name and compute capability, and a little more memory."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    seen = torch.cuda.get_device_properties(0)

    (gpu,) = [gpu for gpu in local_gpus() if gpu.uuid == f"GPU-{seen.uuid}"]

    assert (seen.name, (seen.major, seen.minor)) == (gpu.name, gpu.compute_capability)
    assert seen.total_memory <= gpu.total_bytes
