"""From a `Cell` to a `Trace`: run lerobot's training step on fake CUDA tensors at three batch sizes.

Two batch sizes give `constant + per_sample * batch` for every event; the third confirms it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from actprof.cell import Cell
from actprof.errors import ActprofError, TraceError
from actprof.policies import policy_spec, policy_title
from actprof.policies.accelerator import StepAccelerator
from actprof.policies.adapter import own_path
from actprof.policies.dataset import ASSUMED_TASK_TOKENS
from actprof.policies.facts import PolicyFacts
from actprof.policies.fsdp import import_fsdp, is_shard, leave_group, sharded_units
from actprof.policies.probe import Probe, policy_facts
from actprof.policies.workload import Workload, build_workload, import_lerobot
from actprof.processes.child import tell
from actprof.trace.affine import fit
from actprof.trace.cache import STOPS
from actprof.trace.fake import fake_cuda
from actprof.trace.fake_streams import fake_streams
from actprof.trace.model import Trace
from actprof.trace.recorder import Recorder
from actprof.trace.reverse import reverse_pass
from actprof.trace.sample_loops import without_sample_loops
from actprof.trace.saved_tensors import saving_tensors
from actprof.trace.values import FollowsValues
from actprof.versions import library_versions

BATCH_SIZES = (2, 3, 7)
_NOT_GATHERED = (
    "it reads weights of a module without calling the module, and FSDP2 gathers those of a unit when the "
    "unit is called; name other units, or none of those (--wrap-module)"
)


@dataclass(frozen=True, slots=True)
class Recording:
    """What one batch size gave: the recorder's columns and what the policy said of itself."""

    recorder: Recorder
    policy: PolicyFacts


def record_trace(cell: Cell) -> Trace:
    """Trace the training step of `cell`; see `Trace.holds_for` for the batch sizes that it serves.

    Raises:
        TraceError: the step does something that cannot be traced without the device.
    """
    start = time.perf_counter()
    sizes = traced_batch_sizes(cell)
    if cell.batch_size < sizes[0]:
        trace = _fixed(cell)
    else:
        # Which line made an op does not depend on the batch size: the first recording says it.
        recordings = [_record_one(cell, place) for place in range(len(sizes))]
        recorders = [recording.recorder for recording in recordings]
        fitted = fit(recorders, sizes)
        if fitted is None:
            loops = policy_spec(cell.policy).sample_loops
            recorders = [without_sample_loops(recorder, loops) for recorder in recorders]
            fitted = fit(recorders, sizes)
        first = replace(recordings[0], recorder=recorders[0])
        trace = _assemble(cell, first, fitted, sizes) if fitted else _fixed(cell)
    return replace(trace, trace_seconds=time.perf_counter() - start)


def _record_one(cell: Cell, place: int) -> Recording:
    """Record the batch size at that place of those that are traced."""
    sizes = traced_batch_sizes(cell)
    tell(f"tracing {policy_title(cell.policy)} at batch size {sizes[place]}, {place + 1} of {len(sizes)}")
    return record(replace(cell, batch_size=sizes[place]), sources=place == 0)


def traced_batch_sizes(cell: Cell) -> tuple[int, ...]:
    """Return the batch sizes that are traced for `cell`: parts of a batch are no smaller than whole ones."""
    return tuple(size * cell.micro_batches for size in BATCH_SIZES)


def _fixed(cell: Cell) -> Trace:
    """Trace one batch size for itself."""
    tell(f"tracing {policy_title(cell.policy)} at batch size {cell.batch_size}, which has a trace of its own")
    recording = record(cell, sources=True)
    fitted = fit([recording.recorder], (cell.batch_size,))
    if fitted is None:
        raise TraceError("one recording does not agree with itself; please report this")
    return replace(_assemble(cell, recording, fitted, (cell.batch_size,)), fixed_batch_size=cell.batch_size)


def _assemble(cell: Cell, recording: Recording, fitted: dict[str, Any], sizes: tuple[int, ...]) -> Trace:
    recorder = recording.recorder
    return Trace(
        key=cell.trace_key(),
        versions=library_versions(),
        policy=recording.policy,
        step_starts=tuple(recorder.step_starts),
        update_starts=tuple(recorder.update_starts),
        phase_starts=tuple(recorder.phase_starts),
        batch_sizes=sizes,
        assumptions=(*_assumptions(cell), *recorder.notes),
        **fitted,
    )


def _assumptions(cell: Cell) -> tuple[str, ...]:
    spec = policy_spec(cell.policy)
    longest = spec.reads_task and not spec.pads_task and not cell.task_tokens
    length = f"{ASSUMED_TASK_TOKENS} tokens" if spec.reads_all else "as long as the policy reads"
    said = f"tasks were taken to be {length}; --task-tokens names their length"
    return (*spec.assumptions, *([said] if longest else []))


def record(
    cell: Cell, *, steps: int | None = None, device_type: str = "cuda", sources: bool = False
) -> Recording:
    """Run training steps of `cell` and record them, on fake CUDA or on the real CPU.

    As many as `steps` says, or its policy's spec. With `sources` the lines of lerobot and torch that made
    each op are noted.

    Raises:
        TraceError: an op cannot run without the device, or without data.
    """
    spec = policy_spec(cell.policy)
    recorder = Recorder(device_type, sources=sources)
    import_lerobot(cell.policy)
    if cell.strategy == "fsdp":
        import_fsdp()
    try:
        with ExitStack() as stack:
            if cell.strategy == "fsdp":
                stack.callback(leave_group)
                stack.enter_context(fake_streams())
            if device_type == "cuda":
                stack.enter_context(fake_cuda())
            stack.enter_context(recorder)
            if spec.follows_values and device_type == "cuda":
                stack.enter_context(FollowsValues())  # type: ignore[no-untyped-call]
            workload = _build(cell, recorder, torch.device(device_type))
            probe = Probe(workload.policy, spec)
            stack.enter_context(probe)
            stack.enter_context(recorder.origins.watching(workload.policy))
            for _ in range(steps or spec.steps):
                with saving_tensors(lambda tensor: recorder.mark(tensor, "activations")):
                    workload.step(recorder.phase)
                _mark_what_stays(recorder, workload)
            recorder.stop()
            return Recording(recorder, policy_facts(workload.policy, spec, probe))
    except (ActprofError, MemoryError, OSError):
        raise
    except Exception as error:
        raise TraceError(_why_not(cell, error)) from error


def _why_not(cell: Cell, error: Exception) -> str:
    """Return what kept a step from being traced: what a library itself raises for a value stops a GPU too."""
    title, place = policy_title(cell.policy), error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    file = "" if place is None else place.tb_frame.f_code.co_filename.replace("\\", "/")
    refused = any(name in file for name in ("/accelerate/", "/torch/distributed/"))
    if cell.strategy == "fsdp" and "mixed torch.Tensor and DTensor" in str(error):
        return f"{STOPS} {title} stops, and would on a GPU: {_NOT_GATHERED}"
    if (isinstance(error, ValueError) and "/lerobot/" in file) or (cell.strategy == "fsdp" and refused):
        return f"{STOPS} {title} stops, and would on a GPU: {error}"
    return f"{title} cannot be traced without the device: {error}"


def _build(cell: Cell, recorder: Recorder, device: torch.device) -> Workload:
    def backward(loss: torch.Tensor) -> None:
        reverse_pass(
            loss,
            on_node=recorder.origins.enter_node,
            on_gradient=lambda gradient: recorder.mark(gradient, "gradients"),
        )
        recorder.origins.leave_nodes()
        for path, parameter in workload.policy.named_parameters():  # the pass knows no names
            if parameter.grad is not None and not cell.gradient_as_bucket_view:
                recorder.mark(parameter.grad, "gradients", owner=own_path(path))

    accelerator = StepAccelerator(device_type=device.type, backward=backward, phase=recorder.phase)
    workload = build_workload(cell, device, accelerator=accelerator)
    for path, parameter in workload.policy.named_parameters():
        recorder.mark(parameter, "parameters", owner=own_path(path))
    if cell.strategy == "fsdp":
        for unit in sharded_units(workload.policy):
            unit.register_forward_pre_hook(partial(_mark_gathered, recorder, workload.policy))
    for (path, _), average in zip(workload.policy.named_parameters(), workload.average, strict=False):
        recorder.mark(average, "moving average", owner=own_path(path))
    for path, buffer in workload.policy.named_buffers():
        recorder.mark(buffer, "buffers", owner=own_path(path))
    return workload


def _mark_gathered(recorder: Recorder, policy: Any, _unit: Any, _args: Any) -> None:
    """Say what FSDP has gathered for the forward pass of a unit."""
    for path, parameter in policy.named_parameters():
        if not is_shard(parameter):
            recorder.mark(parameter, "gathered parameters", owner=own_path(path))


def _mark_what_stays(recorder: Recorder, workload: Workload) -> None:
    """Say what the optimizer and DDP keep from step to step."""
    for bucket in workload.ddp.buckets if workload.ddp else ():
        recorder.mark(bucket, "gradient buckets")
    paths = {parameter: own_path(path) for path, parameter in workload.policy.named_parameters()}
    for parameter, state in workload.optimizer.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                recorder.mark(value, "optimizer state", owner=paths.get(parameter, ""))
