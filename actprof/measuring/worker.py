"""What runs in the process of one measured cell: `run_worker` or `forked` starts it, `answer` runs there.

What goes wrong there, but for a config that lerobot refuses, ends it with a traceback; the parent shows that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.measuring.request import Answer, Request
from actprof.policies import policy_spec
from actprof.processes.child import tell
from actprof.processes.fork_server import ForkServer
from actprof.processes.worker import Conditions, call_alone

if TYPE_CHECKING:
    from actprof.measuring.run_device import RunDevice
    from actprof.measuring.training_steps import Build, StepsTaken
    from actprof.policies.accelerator import PhaseContext
    from actprof.trace.recorder import Recorder


_OPEN_FILES = Path("/proc/self/fd")


def run_worker(request: Request, conditions: Conditions) -> Answer:
    """Run `request` in a process of its own and return its answer; see `call_alone`."""
    return call_alone(conditions, _run, request)


def measuring_server() -> ForkServer:
    """Return a server whose processes begin with lerobot; it starts no CUDA and reads no allocator settings.

    PyTorch and CUDA read their settings (`PYTORCH_CUDA_ALLOC_CONF`, `CUBLAS_WORKSPACE_CONFIG`,
    `CUDA_VISIBLE_DEVICES`) when the first tensor is made on the GPU, in the child; but the allocator's
    `backend`, of which cells have none but the default, while torch is imported.
    """
    return ForkServer(
        {
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # whether a GPU is here is asked without starting CUDA
            "PYTORCH_CUDA_ALLOC_CONF": None,
            "PYTORCH_ALLOC_CONF": None,
        }
    )


def forked(server: ForkServer) -> Callable[[Request, Conditions], Answer]:
    """Return what `run_worker` is, with processes from `server`."""
    return partial(_run_forked, server)


@cache
def _server_here() -> ForkServer:
    return measuring_server()


def run_forked(request: Request, conditions: Conditions) -> Answer:
    """Do what `run_worker` does, with a server that this process keeps until its end: it pickles."""
    return _run_forked(_server_here(), request, conditions)


def _run_forked(server: ForkServer, request: Request, conditions: Conditions) -> Answer:
    start = server.starting(import_for, request.cell.policy, request.device_type)
    return call_alone(replace(conditions, start=start), _run, request)


def import_for(policy: str, device_type: str) -> str:
    """Import what a run of `policy` needs, in the server; return why it cannot be forked then, or nothing."""
    _import(policy)
    imported = _import.cache_info().currsize
    return "an import has started CUDA" if device_type == "cuda" and _cuda_is_started(imported) else ""


@cache
def _import(policy: str) -> None:
    tell("importing lerobot")
    import actprof.measuring.run_device
    import actprof.measuring.training_steps
    import actprof.trace.record  # noqa: F401
    from actprof.policies.workload import import_lerobot

    import_lerobot(policy)


@cache  # for as long as nothing more was imported
def _cuda_is_started(_imported: int) -> bool:
    return is_lost_to_forks() or _cuda_is_open()


def is_lost_to_forks() -> bool:
    """Return whether torch would refuse CUDA in a fork of this process: it tells the fork only."""
    import torch

    pid = os.fork()
    if not pid:
        lost = True
        try:
            lost = torch.cuda._is_in_bad_fork()
        finally:
            os._exit(int(lost))
    return os.waitpid(pid, 0)[1] != 0


def _cuda_is_open() -> bool:
    """Return whether any library of this process has started CUDA: then the driver's file is open."""
    return any(str(opened.resolve()).startswith("/dev/nvidia-uvm") for opened in _OPEN_FILES.iterdir())


def _run(request: Request) -> Answer:
    tell("importing lerobot")
    return answer(request, make_device(request), make_build(request))


def make_device(request: Request) -> RunDevice:
    """Return the device that the request names."""
    from actprof.measuring.run_device import CudaDevice, RunDevice

    if request.device_type == "cuda":
        return CudaDevice(index=request.index, driver=request.driver)
    return RunDevice()


def make_build(request: Request) -> Build:
    """Return what builds the real workload of the request's cell."""
    import torch

    from actprof.policies.accelerator import StepAccelerator
    from actprof.policies.workload import build_workload, import_lerobot

    import_lerobot(request.cell.policy)

    def build(phase: PhaseContext) -> Any:
        accelerator = StepAccelerator(device_type=request.device_type, phase=phase)
        return build_workload(request.cell, torch.device(request.device_type), accelerator=accelerator)

    return build


def answer(request: Request, device: RunDevice, build: Build) -> Answer:
    """Run what is asked for on `device` and return what was found.

    Raises:
        UsageError: lerobot refuses the policy's config.
    """
    from actprof.measuring.training_steps import summarise, take_steps
    from actprof.policies.probe import Probe

    device.prepare(cap_bytes=request.cap_bytes, cudnn_benchmark=request.cell.cudnn_benchmark)
    cell = request.cell
    tell(f"{cell.policy} at batch size {cell.batch_size} on {request.device_type}")
    if request.purpose == "lines":
        from actprof.measuring.source_lines import profile_policy

        return Answer(device=device.facts(), text=profile_policy(request, device, build))
    if request.purpose == "snapshot":
        device.record_history()
    probes: list[Probe] = []

    def probed(phase: PhaseContext) -> Any:
        workload = build(phase)
        probes.append(Probe(workload.policy, policy_spec(cell.policy)).__enter__())
        return workload

    taken = take_steps(request, device, probed)
    parameters = 0 if taken.workload is None else sum(p.numel() for p in taken.workload.policy.parameters())
    if request.purpose == "snapshot":
        device.dump_snapshot(request.snapshot)
    measurement = summarise(taken, request, device)
    if device.torch_device.type == "cpu":
        from actprof.measuring.run_device import resident_bytes

        resident = resident_bytes()  # of the run alone: counting tensors comes after
        tell("counting live tensors")
        live = _live_tensor_bytes(request, taken)
        measurement = replace(measurement, resident_bytes=resident, live_tensor_bytes=live)
    return Answer(
        device=device.facts(),
        encoder_tokens=sum(probe.tokens for probe in probes),
        parameters=parameters,
        step_seconds=taken.spread("update"),
        measurement=measurement,
        oom=taken.oom,
    )


def _live_tensor_bytes(request: Request, taken: StepsTaken) -> int:
    """Return the highest bytes of live tensors of a second step, as the tracer counts them.

    The gradients are those of our reverse pass: while a recorder is active, the engine does not accumulate
    in place.
    """
    from actprof.trace.record import record

    taken.workload = None  # its memory is wanted back
    return highest_live_bytes(record(request.cell, device_type="cpu").recorder)


def highest_live_bytes(recorder: Recorder) -> int:
    """Return the highest bytes alive at once from the start of the last `update_policy` on."""
    sizes = [0, *recorder.sizes]
    steps = (sizes[event] if event > 0 else -sizes[-event] for event in recorder.events)
    return max(list(accumulate(steps))[recorder.update_starts[-1] :])
