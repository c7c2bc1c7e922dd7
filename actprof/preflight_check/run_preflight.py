"""One command from question to answer: parts, meaning, dataset, GPU, prediction, traps, remedies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from actprof.allocator.config import AllocatorConfig
from actprof.errors import UsageError
from actprof.measuring.nvml import usable_gpus
from actprof.preflight_check.command_line import CommandLine
from actprof.preflight_check.dataset_shapes import Shapes, find_info, shapes_of
from actprof.preflight_check.duration import run_duration
from actprof.preflight_check.find_gpu import RunGpu, run_gpu
from actprof.preflight_check.given import Given
from actprof.preflight_check.launcher import Launch, allocator_settings, launch_of
from actprof.preflight_check.policy_inputs import run_inputs
from actprof.preflight_check.predict_run import (
    find_remedies,
    predict_run,
    run_assumptions,
    run_cell,
    why_unsupported,
)
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.read_command import read_command
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.traps import find_traps


def run_preflight(
    command: CommandLine, given: Given, *, may_exist: bool = False, remedies: bool = True
) -> Preflight:
    """Return the answer for `command`; raises as `actprof.preflight`.

    Args:
        command: from `parse_command_line`.
        given: what the user says beside it.
        may_exist: do not refuse an output folder that is there already, as lerobot does.
        remedies: also look for them where the run does not simply fit.
    """
    run = read_command(command.arguments, may_exist=may_exist)
    seen = command.seen_environment()
    settings = allocator_settings(seen)
    # lerobot submits the bare command to a job: neither launcher nor environment go with it.
    launch = Launch() if run.job_target else launch_of(command)
    conf = "" if run.job_target else settings.text
    reason = why_unsupported(run, launch, conf)
    answer = Preflight(reason=reason, command=command, run=run, launch=launch, settings=settings)
    if reason:
        return answer
    AllocatorConfig.parse(conf)  # what PyTorch refuses, before anything else takes time
    shapes, looked = _shapes(run, seen, given)
    inputs = run_inputs(run, shapes, given, looked=looked)
    gpu, processes = _gpu(run, launch, given, seen)
    answer = replace(answer, reason=inputs.unknown, inputs=inputs, gpu=gpu)
    if inputs.unknown:
        return replace(answer, traps=find_traps(answer))
    cell = run_cell(run, inputs, gpu, launch, conf)
    result = predict_run(cell, inputs, processes)
    said = (*inputs.assumptions, *run_assumptions(run, launch, gpu))
    result = replace(result, assumptions=(*result.assumptions, *said))
    answer = replace(answer, verdict=result.verdict, reason=result.reason, result=result, assumptions=said)
    frames = 0 if shapes is None else shapes.frames
    return replace(
        answer,
        traps=find_traps(answer),
        remedies=find_remedies(run, cell, result, processes) if remedies else (),
        duration=run_duration(run, result, given, processes=processes, frames=frames),
    )


def _shapes(run: TrainingRun, seen: dict[str, str], given: Given) -> tuple[Shapes | None, str]:
    try:
        info, where = find_info(run.repo_id, run.root, run.revision, seen, hub=not given.is_whole)
        return (None if info is None else shapes_of(info, where)), where
    except UsageError:
        if not given.is_whole:  # else nobody needs the file that cannot be read
            raise
        return None, ""


def _gpu(run: TrainingRun, launch: Launch, given: Given, seen: Mapping[str, str]) -> tuple[RunGpu, int]:
    """Return the GPU and how many processes there are, each on one like it."""
    named = given.gpu is not None or given.capacity is not None or run.job_target is not None
    processes = launch.processes or (1 if named else max(len(usable_gpus(seen)), 1))
    gpu = run_gpu(given, job_target=run.job_target, processes=processes, environment=seen)
    return gpu, processes
