"""A run in a fork of what has imported lerobot, beside one in a process of its own from the start."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from stand_ins import Launcher

from actprof.errors import UsageError
from actprof.measuring.request import Request
from actprof.measuring.worker import forked, import_for, is_lost_to_forks, measuring_server, run_worker
from actprof.processes.fork_server import forked_from
from actprof.processes.worker import Conditions, call_alone


@pytest.fixture(scope="module")
def server():
    """A server that imports lerobot once for all tests, where NVML answers that there is a GPU."""
    with measuring_server() as server:
        call_alone(Conditions(start=server.starting(nvml_sees_a_gpu)), os.getpid)
        yield server


def nvml_sees_a_gpu():
    import torch

    torch.cuda._device_count_nvml = lambda: 1
    return ""


def call(server, function, *args, **environment):
    """Return what `function` returns in a fork of the process that has imported ACT."""
    start = server.starting(import_for, "act", "cuda")
    return call_alone(Conditions(start=start, environment=environment), function, *args)


def test_a_fork_measures_what_a_new_process_does(server, small_cell):
    """All but the times; resident memory, libraries that the server has read included, within a twentieth."""
    request = Request(cell=small_cell, device_type="cpu", steps=2)
    in_fork, alone = (launch(request, Conditions()) for launch in (forked(server), run_worker))

    assert alone.measurement.resident_bytes == pytest.approx(in_fork.measurement.resident_bytes, rel=0.05)
    assert _without_times(alone) == _without_times(in_fork)


def _without_times(answer):
    names = ("data_seconds", "forward_seconds", "backward_seconds", "optimizer_seconds")
    kept = replace(answer.measurement, resident_bytes=0, **dict.fromkeys(names))
    return replace(answer, measurement=kept, step_seconds=None)


def on_a_fake_gpu(request):
    """Measure on a GPU that is not there."""
    return Launcher()(request, Conditions())


@pytest.mark.parametrize("alloc_conf", ["", "expandable_segments:True", "max_split_size_mb:64"])
def test_a_fork_finds_the_same_peaks(server, small_cell, alloc_conf):
    """On the fake GPU, to the byte, under any settings; `test_on_gpu.py` has the twin."""
    request = Request(cell=replace(small_cell, alloc_conf=alloc_conf), steps=10)
    alone = on_a_fake_gpu(request)

    assert 10 == len(alone.measurement.step_memory)
    assert _without_times(alone) == _without_times(call(server, on_a_fake_gpu, request))


def test_what_lerobot_refuses_is_told_by_a_fork_too(server, small_cell):
    """And the next one is measured."""
    bad = replace(small_cell, overrides={**small_cell.overrides, "n_action_steps": 99})
    with pytest.raises(UsageError, match="lerobot refuses this policy"):
        forked(server)(Request(cell=bad, device_type="cpu"), Conditions())


def state():
    """Return whether the process is a fork with lerobot, and what torch knows of CUDA."""
    import sys

    import torch

    cuda = (torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork(), os.getenv(CHECK))
    return forked_from() is not None, "lerobot.scripts.lerobot_train" in sys.modules, cuda


CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


def test_a_fork_has_lerobot_and_no_cuda(server):
    """CUDA can be started in it, and its variables are ours."""
    assert (True, True, (False, False, os.getenv(CHECK))) == call(server, state)


def ask_cuda():
    """Ask CUDA itself, as an import does where NVML is silent."""
    import torch

    before = is_lost_to_forks()
    torch._C._cuda_getDeviceCount()
    return str((before, is_lost_to_forks()))


def test_a_process_that_has_asked_cuda_is_lost_to_forks():
    """Torch would refuse CUDA in them."""
    assert "(False, True)" == call_alone(Conditions(), ask_cuda)


def settings_are_read():
    """Return what PyTorch says when it reads the allocator's settings."""
    import torch

    try:
        torch._C._accelerator_setAllocatorSettings("max_split_size_mb:30")
    except ValueError as error:
        return str(error)
    return "read"


def test_allocator_settings_are_read_in_the_fork(server):
    """PyTorch has not read them while it was imported: each fork has its own."""
    said = call(server, settings_are_read, PYTORCH_CUDA_ALLOC_CONF="nonsense:1")

    assert "Unrecognized key 'nonsense'" in said
    assert "read" == call(server, settings_are_read, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")


def test_the_allocator_is_the_default_one_whatever_the_shell_says(monkeypatch):
    """`backend` alone is read while torch is imported; no cell has another one."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
    with measuring_server() as server:
        start = server.starting(_nothing)
        assert "native" == call_alone(
            Conditions(start=start, environment={"PYTORCH_CUDA_ALLOC_CONF": ""}), backend
        )


def _nothing():
    import torch  # noqa: F401

    return ""


def backend():
    import torch

    return torch.cuda.get_allocator_backend()
