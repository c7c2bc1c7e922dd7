"""One command from question to answer: parts, meaning, dataset, GPU, prediction, traps, remedies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from actprof.advice.suggest import Remedy
from actprof.allocator.config import AllocatorConfig
from actprof.errors import UsageError
from actprof.measuring.nvml import usable_gpus
from actprof.preflight_check.command_line import CommandLine, Given
from actprof.preflight_check.dataset_shapes import Shapes, find_info, shapes_of
from actprof.preflight_check.duration import Duration, run_duration
from actprof.preflight_check.find_gpu import RunGpu, run_gpu
from actprof.preflight_check.launcher import AllocatorSettings, Launch, allocator_settings, launch_of
from actprof.preflight_check.policy_inputs import Inputs, run_inputs
from actprof.preflight_check.predict_run import (
    find_remedies,
    predict_run,
    run_assumptions,
    run_cell,
    why_unsupported,
)
from actprof.preflight_check.read_command import read_command
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.traps import Trap, find_traps
from actprof.records import to_plain
from actprof.results import Result, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The answer to: does this command run?

    Attributes:
        result: the prediction, with this verdict; None where there is nothing to predict.
        inputs, gpu: None where the policy is not known.
        settings: the allocator's, as the run gets them.
        assumptions: what is taken for granted beside the prediction's own assumptions.
        remedies: where the run does not simply fit.
        duration: of all steps; None where the speed is not known.
    """

    verdict: Verdict = Verdict.UNKNOWN
    reason: str
    command: CommandLine
    run: TrainingRun
    launch: Launch
    result: Result | None = None
    inputs: Inputs | None = None
    gpu: RunGpu | None = None
    settings: AllocatorSettings = field(default_factory=AllocatorSettings)
    assumptions: tuple[str, ...] = ()
    traps: tuple[Trap, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    duration: Duration | None = None

    @property
    def exit_code(self) -> int:
        """0 fits or tight, 1 runs out of memory, 3 cannot be told."""
        if self.verdict.runs:
            return 0
        return 1 if self.verdict == Verdict.OOM else 3

    def to_json(self) -> dict[str, Any]:
        """Return one object: the result's fields, and command, dataset, gpu, traps and remedies."""
        data = {} if self.result is None else self.result.to_json(curve=False)
        gpu = {**data.get("gpu", {}), **({} if self.gpu is None else to_plain(self.gpu))}
        return {
            **data,
            "verdict": self.verdict,
            "reason": self.reason,
            "cell": data.get("cell"),
            "command": {**to_plain(self.command), "run": to_plain(self.run), "launch": to_plain(self.launch)},
            "dataset": to_plain(self.inputs),
            "gpu": gpu or None,
            "alloc_conf_from": self.settings.variable,
            "traps": to_plain(self.traps),
            "remedies": [_remedy(remedy) for remedy in self.remedies],
            "duration": to_plain(self.duration),
        }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    data = remedy.to_json()
    said = {name: data[name] for name in ("name", "title", "kind", "flags", "environment", "code", "note")}
    kept = ("verdict", "peak_process_bytes", "headroom_bytes", "max_batch_size")
    return said | {when: {name: data[when][name] for name in kept} for when in ("before", "after")}


def run_preflight(
    command: CommandLine, given: Given, *, may_exist: bool = False, remedies: bool = True
) -> Preflight:
    """Return the answer for `command`; raises as `actprof.preflight`.

    With `may_exist` an output folder that is there already is not refused, as lerobot does.
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
