"""One command from question to answer: parts, meaning, dataset, GPU, prediction, traps, remedies."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actprof.advice.suggest import Remedy
from actprof.allocator.config import AllocatorConfig
from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.prediction.predict import predict_cell
from actprof.preflight_check.allocator_settings import AllocatorSettings, allocator_settings
from actprof.preflight_check.command_line import CommandLine
from actprof.preflight_check.dataset_shapes import Shapes, find_info, shapes_of
from actprof.preflight_check.duration import Duration, SpeedGiven, run_duration
from actprof.preflight_check.find_gpu import RunGpu, gpus_here, run_gpu
from actprof.preflight_check.launcher import Launch, launch_of
from actprof.preflight_check.read_command import read_command
from actprof.preflight_check.run_cell import (
    Given,
    Inputs,
    processes_bytes,
    run_assumptions,
    run_cell,
    run_inputs,
    smallest_cell,
    why_unsupported,
)
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.traps import Facts, Trap, find_traps
from actprof.preflight_check.what_helps import find_remedies
from actprof.records import to_plain
from actprof.results import Result, Verdict
from actprof.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAsked:
    """The GPU as the user names it: a card, its memory, and what others hold of it; None: not said."""

    gpu: str | None = None
    capacity: str | None = None
    used_by_others: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The answer to: does this command run?

    Attributes:
        verdict: `fits`, `tight`, `oom` or `unknown`.
        reason: why, in a sentence.
        command: the command, taken apart.
        run: what lerobot understands by it.
        launch: how its processes start.
        result: the prediction, with this verdict; None where there is nothing to predict.
        inputs: what the policy sees; None where the policy is not known.
        gpu: what the run is meant for; None like `inputs`.
        settings: the allocator's, as the run gets them.
        assumptions: what is taken for granted beside the prediction's own assumptions.
        traps: what the command's author may not expect.
        remedies: of `actprof.suggest`, where the run does not simply fit.
        duration: of all steps; None where the speed is not known.
    """

    verdict: Verdict
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
            "dataset": None if self.inputs is None else to_plain(self.inputs),
            "gpu": gpu or None,
            "alloc_conf_from": self.settings.variable,
            "traps": to_plain(self.traps),
            "remedies": [_remedy(remedy) for remedy in self.remedies],
            "duration": to_plain(self.duration),
        }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    kept = ("verdict", "peak_process_bytes", "headroom_bytes", "max_batch_size")
    return {
        "name": remedy.name,
        "title": remedy.title,
        "kind": remedy.kind,
        "flags": list(remedy.flags),
        "environment": dict(remedy.environment),
        "code": remedy.code,
        "note": remedy.note,
        **{
            when: {name: getattr(getattr(remedy, when), name) for name in kept}
            for when in ("before", "after")
        },
    }


def run_preflight(
    command: CommandLine,
    *,
    asked: GpuAsked,
    given: Given,
    speed: SpeedGiven | None = None,
    may_exist: bool = False,
    remedies: bool = True,
) -> Preflight:
    """Return the answer for `command`.

    Args:
        command: from `parse_command_line`.
        asked: the GPU; the one in this machine where nothing is asked and the command names no job.
        given: shapes that take the place of the dataset's.
        speed: what is known of loading and price.
        may_exist: do not refuse an output folder that is there already, as lerobot does.
        remedies: also look for them where the run does not simply fit.

    Raises:
        UsageError: lerobot refuses the command, or what is needed is neither found nor given.
        UnknownAnswerError: the command names a file on the Hub that cannot be had.
    """
    run = read_command(command.arguments, may_exist=may_exist)
    seen = command.seen_environment()
    settings = allocator_settings(seen)
    # lerobot submits the bare command to a job: neither launcher nor environment go with it.
    launch = Launch() if run.job_target else launch_of(command)
    conf = "" if run.job_target else settings.text
    unsupported = why_unsupported(run, launch, conf)
    if unsupported:
        return Preflight(
            verdict=Verdict.UNKNOWN,
            reason=unsupported,
            command=command,
            run=run,
            launch=launch,
            settings=settings,
        )
    AllocatorConfig.parse(conf)  # what PyTorch refuses, before anything else takes time
    shapes, looked = _shapes(run, seen, given)
    inputs = run_inputs(run, shapes, given, looked=looked)
    gpu, processes = _gpu(run, launch, asked, seen)
    base = Preflight(
        verdict=Verdict.UNKNOWN,
        reason=inputs.unknown,
        command=command,
        run=run,
        launch=launch,
        inputs=inputs,
        gpu=gpu,
        settings=settings,
    )
    if inputs.unknown:
        return replace(base, traps=_traps(base))
    answer = _answered(base, run_cell(run, inputs, gpu, launch, conf), processes, remedies=remedies)
    frames = 0 if shapes is None else shapes.frames
    return _with_duration(answer, processes, frames, speed or SpeedGiven())


def _with_duration(answer: Preflight, processes: int, frames: int, given: SpeedGiven) -> Preflight:
    if answer.result is None:
        return answer
    duration = run_duration(
        answer.run,
        answer.result,
        processes=processes,
        frames=frames,
        load_seconds=given.load_seconds,
        price=given.price(answer.run),
    )
    return replace(answer, duration=duration)


def _shapes(run: TrainingRun, seen: dict[str, str], given: Given) -> tuple[Shapes | None, str]:
    complete = None not in (given.cameras, given.resolution, given.state_dim, given.action_dim)
    try:
        info, where = find_info(run.repo_id, run.root, run.revision, seen, hub=not complete)
        return (None if info is None else shapes_of(info, where)), where
    except UsageError:
        if not complete:  # else nobody needs the file that cannot be read
            raise
        return None, ""


def _gpu(run: TrainingRun, launch: Launch, asked: GpuAsked, seen: Mapping[str, str]) -> tuple[RunGpu, int]:
    """Return the GPU and how many processes there are, each on one like it."""
    named = asked.gpu is not None or asked.capacity is not None or run.job_target is not None
    processes = launch.processes or (1 if named else max(len(gpus_here(seen)), 1))
    gpu = run_gpu(
        gpu=asked.gpu,
        capacity=asked.capacity,
        used_by_others=asked.used_by_others,
        job_target=run.job_target,
        processes=processes,
        environment=seen,
    )
    return gpu, processes


def _answered(base: Preflight, cell: Cell, processes: int, *, remedies: bool) -> Preflight:
    assert base.inputs is not None and base.gpu is not None  # noqa: S101, PT018 - set by the only caller
    result = _with_processes(predict_cell(cell), processes)
    result = _with_other_cameras(result, smallest_cell(cell, base.inputs), base.inputs)
    said = (*base.inputs.assumptions, *run_assumptions(base.run, base.launch, base.gpu))
    result = replace(result, assumptions=(*result.assumptions, *said))
    answer = replace(base, verdict=result.verdict, reason=result.reason, result=result, assumptions=said)
    answer = replace(answer, traps=_traps(answer))
    crowded = _beside(cell, processes_bytes(processes, result.parameters))
    if not remedies or not _needs_help(result, crowded):
        return answer
    return replace(answer, remedies=find_remedies(base.run, crowded, processes=processes))


def _needs_help(result: Result, crowded: Cell) -> bool:
    """Tell whether memory is short, not only less certain as with several processes or unlike cameras."""
    if result.verdict == Verdict.TIGHT:
        return predict_cell(crowded).verdict != Verdict.FITS
    return result.verdict == Verdict.OOM


def _with_processes(result: Result, processes: int) -> Result:
    """Return the result of one of several processes: `tight` at best."""
    size = processes_bytes(processes, result.parameters)
    if not size or not result.runs:
        return result
    crowded = predict_cell(_beside(result.cell, size))
    counted = (
        f"about {format_bytes(size)} (an estimate) for the gradient buckets and NCCL of {processes} processes"
    )
    if not crowded.runs:
        return replace(
            result, verdict=Verdict.UNKNOWN, reason=f"one process would run, but not beside {counted}"
        )
    return replace(
        crowded,
        verdict=Verdict.TIGHT,
        reason=f"{crowded.reason.rstrip('.')}, beside {counted}",
        assumptions=(*crowded.assumptions, f"{counted}, counted as if others used it"),
    )


def _beside(cell: Cell, size: int) -> Cell:
    """Return the cell on a device of which others hold `size` bytes more."""
    return replace(cell, used_by_others_bytes=cell.used_by_others_bytes + size)


def _with_other_cameras(result: Result, smallest: Cell | None, inputs: Inputs) -> Result:
    """Return the result for cameras of different resolutions, all counted as the largest: `tight` at best."""
    if smallest is None or result.verdict == Verdict.UNKNOWN:
        return result
    differ = f"the cameras differ ({', '.join(inputs.resolutions)}), and all are counted as the largest"
    if result.runs:
        return replace(result, verdict=Verdict.TIGHT, reason=f"{differ}; {result.reason}")
    if predict_cell(smallest).oom is not None:
        return replace(result, reason=f"{differ}, but it runs out with the smallest too; {result.reason}")
    return replace(
        result,
        verdict=Verdict.UNKNOWN,
        reason=f"{differ}: it would run out, but not if all were the smallest. Name one size with "
        "--resolution",
    )


def _traps(answer: Preflight) -> tuple[Trap, ...]:
    return find_traps(
        Facts(
            run=answer.run,
            launch=answer.launch,
            inputs=answer.inputs,
            settings=answer.settings,
            parameters=answer.result.parameters if answer.result else 0,
        )
    )


def config_command(path: str | os.PathLike[str], arguments: Sequence[str] = ()) -> CommandLine:
    """Return the command that trains with a saved `train_config.json`."""
    words = (f"--config_path={os.fspath(path)}", *arguments)
    return CommandLine(text=" ".join(("lerobot-train", *words)), arguments=words)
