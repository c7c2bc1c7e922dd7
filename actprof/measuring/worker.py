"""The process in which one cell runs: `python -m actprof.measuring.worker FD PARENT`, the request on stdin.

It writes one JSON object per line to the file descriptor FD: `{"progress": text}` as it goes, then
`{"answer": …}` or `{"usage_error": text}`. What the libraries print does not get there. Anything else that
goes wrong ends the process with a traceback on stderr, which the parent shows.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from actprof.measuring.request import Answer, Request
from actprof.processes.answer import Send, serve

if TYPE_CHECKING:
    from actprof.measuring.device import Device
    from actprof.measuring.steps import Build, StepsTaken
    from actprof.trace.recorder import Recorder


def main(arguments: list[str]) -> None:
    """Run the cell of the request on stdin."""
    serve(arguments, Request, lambda asked, send: answer(asked, make_device(asked), make_build(asked), send))


def make_device(request: Request) -> Device:
    """Return the device that the request names."""
    from actprof.measuring.device import CudaDevice, HostDevice

    if request.device_type == "cuda":
        return CudaDevice(index=request.index, driver=request.driver)
    return HostDevice()


def make_build(request: Request) -> Build:
    """Return what builds the real workload of the request's cell."""
    import torch

    from actprof.policies.accelerator import PhaseContext, StepAccelerator
    from actprof.policies.workload import build_workload
    from actprof.quiet import quiet_imports

    with quiet_imports():
        import lerobot.scripts.lerobot_train  # noqa: F401 - imported here, so that no step pays for it

    def build(phase: PhaseContext) -> Any:
        accelerator = StepAccelerator(device_type=request.device_type, phase=phase)
        return build_workload(request.cell, torch.device(request.device_type), accelerator=accelerator)

    return build


def answer(request: Request, device: Device, build: Build, send: Send) -> Answer:
    """Run what is asked for on `device` and return what was found.

    Raises:
        UsageError: lerobot refuses the policy's config.
    """
    from actprof.measuring.steps import summarise, take_steps

    device.prepare(cap_bytes=request.cap_bytes, cudnn_benchmark=request.cell.cudnn_benchmark)
    cell = request.cell
    send({"progress": f"{cell.policy} at batch size {cell.batch_size} on {request.device_type}"})
    if request.purpose == "lines":
        return Answer(device=device.facts(), text=_profile_lines(request, device, build))
    if request.purpose == "snapshot":
        device.record_history()
    probed = _Probed(build, request)
    taken = take_steps(request, device, probed)
    if request.purpose == "snapshot":
        device.dump_snapshot(request.snapshot)
    measurement = summarise(taken, request, device)
    if device.torch_device.type == "cpu":
        from actprof.measuring.device import resident_bytes

        resident = resident_bytes()  # of the run alone: counting tensors comes after
        send({"progress": "counting live tensors"})
        live = _live_tensor_bytes(request, taken)
        measurement = replace(measurement, resident_bytes=resident, live_tensor_bytes=live)
    return Answer(
        device=device.facts(),
        encoder_tokens=probed.encoder_tokens,
        parameters=probed.parameters,
        step_seconds=taken.spread("update"),
        measurement=measurement,
        oom=taken.oom,
    )


class _Probed:
    """A `Build` that also reads the policy's token count off its first forward pass."""

    def __init__(self, build: Build, request: Request) -> None:
        self._build = build
        self._policy_name = request.cell.policy
        self._probe: Any = None
        self.parameters = 0

    def __call__(self, phase: Any) -> Any:
        from actprof.policies import policy_spec
        from actprof.policies.probe import Probe

        workload = self._build(phase)
        self.parameters = sum(parameter.numel() for parameter in workload.policy.parameters())
        self._probe = Probe(workload.policy, policy_spec(self._policy_name))
        self._probe.__enter__()
        return workload

    @property
    def encoder_tokens(self) -> int:
        return self._probe.tokens if self._probe is not None else 0


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


def _profile_lines(request: Request, device: Device, build: Build) -> str:
    from actprof.measuring.lines import profile_policy

    return profile_policy(request, device, build)


if __name__ == "__main__":
    main(sys.argv[1:])
