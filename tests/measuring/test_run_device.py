"""What `CudaDevice` asks of torch: the names and units of the torch that is installed, without a GPU."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from fake_memory import FakeMemory

from actprof.hardware import all_gpus
from actprof.measuring.run_device import CudaDevice, RunDevice, resident_bytes
from actprof.processes.worker import Conditions, call_alone
from actprof.units import GIB, MIB


@pytest.fixture
def cuda(monkeypatch):
    """A `torch.cuda` that remembers what it was told."""
    told = SimpleNamespace(fractions=[], total=int(79.18 * GIB), history=[], dumped=[])
    properties = SimpleNamespace(name="Fake H100", total_memory=0, major=9, minor=0)

    def describe(index):
        assert 0 == index
        properties.total_memory = told.total
        return properties

    monkeypatch.setattr(torch.cuda, "get_device_properties", describe)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.fractions.append)
    monkeypatch.setattr(
        torch.cuda.memory, "_record_memory_history", lambda **options: told.history.append(options)
    )
    monkeypatch.setattr(torch.cuda.memory, "_dump_snapshot", told.dumped.append)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32
    yield told
    cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32 = before


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("cap", [1, 20 * MIB + 1, int(23.69 * GIB) - 300 * MIB])
def test_the_cap_is_met_to_the_byte(cuda, gpu, cap):
    """PyTorch cuts the product of fraction and total to whole bytes (CUDACachingAllocator.cpp)."""
    cuda.total = max(gpu.capacity_bytes, cap)
    CudaDevice().prepare(cap_bytes=cap, cudnn_benchmark=True)

    (fraction,) = cuda.fractions
    assert 0 < fraction <= 1
    assert cap == int(fraction * cuda.total)


@pytest.mark.parametrize("benchmark", [True, False])
def test_a_run_without_cap_has_the_flags_of_lerobot_only(cuda, benchmark):
    """As `lerobot.scripts.lerobot_train.train` sets them; PyTorch may have the whole card."""
    CudaDevice().prepare(cap_bytes=None, cudnn_benchmark=benchmark)

    assert [] == cuda.fractions
    assert (benchmark, not benchmark) == (
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
    )  # fmt: skip
    assert torch.backends.cuda.matmul.allow_tf32


def test_peaks_and_counters_have_the_names_of_this_torch(monkeypatch):
    """A name that does not exist would read as 0."""
    fake = FakeMemory.instead_of_cuda(monkeypatch)
    fake.take(3 * MIB)
    nested = {**fake.nested(), "num_alloc_retries": 4, "num_ooms": 5}
    monkeypatch.setattr(torch.cuda.memory, "memory_stats_as_nested_dict", lambda **_device: nested)

    memory = CudaDevice().memory()

    assert (3 * MIB, 3 * MIB) == (memory.peak_allocated_bytes, memory.peak_reserved_bytes)
    assert (4, 5) == (memory.retries, memory.ooms)
    documented = inspect.getdoc(torch.cuda.memory_stats)
    assert all(f'"{name}' in documented for name in ("allocated_bytes.", "reserved_bytes.", "num_ooms"))


def test_before_the_first_use_of_cuda_the_counters_are_zero():
    """A set-up that fails at once asks for them."""
    if torch.cuda.is_initialized():
        pytest.skip("CUDA is in use")
    assert (0, 0) == (CudaDevice().memory().peak_allocated_bytes, CudaDevice().memory().ooms)


def test_the_device_is_described_by_torch_and_nvml(cuda):
    """Name, total and capability are torch's; index and driver are handed in."""
    facts = CudaDevice(index=3, driver="595.84").facts()

    assert ("cuda", "Fake H100", 3, cuda.total) == (facts.type, facts.name, facts.index, facts.total_bytes)
    assert ((9, 0), "595.84", torch.version.cuda) == (facts.compute_capability, facts.driver, facts.cuda)


def test_history_is_recorded_with_options_that_torch_has(cuda):
    """With Python's stacks, and room for every event of a few steps."""
    device = CudaDevice()
    device.record_history()
    device.dump_snapshot("act.pickle")

    (options,) = cuda.history
    known = inspect.signature(torch.cuda.memory._record_memory_history_impl).parameters
    assert options.keys() <= known.keys()
    assert options["max_entries"] >= 1_000_000
    assert ["act.pickle"] == cuda.dumped


def test_seconds_come_from_the_milliseconds_of_events():
    """Torch's `elapsed_time` is in milliseconds."""
    start = SimpleNamespace(elapsed_time=lambda end: end)

    assert 1.5 == CudaDevice().seconds_between(start, 1500.0)


def test_the_host_has_no_allocator_to_record():
    """Its clock runs forward, and a snapshot of it is refused."""
    device = RunDevice()
    start = device.mark()

    assert device.seconds_between(start, device.mark()) >= 0
    assert ("cpu", 0) == (device.facts().type, device.memory().peak_reserved_bytes)
    with pytest.raises(NotImplementedError):
        device.dump_snapshot("act.pickle")


def test_resident_memory_is_of_this_program_alone():
    """Whatever started it has held more."""
    held = b"1" * (1 << 30)
    assert call_alone(Conditions(), resident_bytes) < len(held) < resident_bytes()
