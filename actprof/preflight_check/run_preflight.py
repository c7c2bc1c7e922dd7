"""One command from question to answer: parts, meaning, dataset, GPU, cell, prediction, traps, remedies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from actprof.advice.suggest import Remedy, suggest
from actprof.allocator.config import AllocatorConfig
from actprof.cell import OPTIMIZERS, Cell
from actprof.errors import UsageError
from actprof.measuring.nvml import usable_gpus
from actprof.policies import policy_names, policy_spec
from actprof.policies.precision import autocast_of
from actprof.prediction.predict import predict_cell
from actprof.preflight_check.command_line import CommandLine, Given
from actprof.preflight_check.dataset_shapes import Shapes, find_info, shapes_of
from actprof.preflight_check.duration import run_duration
from actprof.preflight_check.find_gpu import RunGpu, run_gpu
from actprof.preflight_check.launcher import Launch, allocator_settings, launch_of
from actprof.preflight_check.policy_inputs import Inputs, run_inputs
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.read_command import read_command
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.traps import find_traps
from actprof.results import Result, Verdict
from actprof.units import format_bytes

# What NCCL takes for its rings and kernels on each GPU of one machine: an estimate, no published figure.
NCCL_BYTES = 512 << 20
MOST_REMEDIES = 3
# `actprof suggest` knows more; these need two further traces at most.
FIRST_REMEDIES = ("resize_224x224", "fused_attention", "smaller_batch", "expandable_segments")
# lerobot submits the bare command to a job: neither a variable nor a script of one's own goes with it.
FOR_JOBS = ("resize_224x224", "smaller_batch")


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


def why_unsupported(run: TrainingRun, launch: Launch, alloc_conf: str) -> str:
    """Return why actprof cannot tell this run's memory, or nothing."""
    unusual = next(iter(run.optimizer_unusual), "")
    cuda_malloc = "backend:cudaMallocAsync" in alloc_conf.replace(" ", "")
    reasons = {
        f"actprof does not trace the policy {run.policy_type} yet; it knows {', '.join(policy_names())}": (
            run.policy_type not in policy_names()
        ),
        "this command trains on the CPU, which takes no GPU memory": launch.on_cpu or run.device == "cpu",
        f"this command trains on {run.device!r}, and actprof knows CUDA's memory only": (
            not run.device.startswith("cuda")
        ),
        "backend:cudaMallocAsync is CUDA's own allocator, which actprof does not simulate": cuda_malloc,
        f"--{next(iter(run.others), '')} changes what is trained, which actprof does not trace": run.others,
        "a changed normalization_mapping changes the batch, which actprof does not trace": run.normalization,
        f"actprof does not know the optimizer {run.optimizer!r}; it knows {', '.join(OPTIMIZERS)}": (
            run.optimizer not in OPTIMIZERS
        ),
        f"actprof takes an optimizer's defaults, and --optimizer.{unusual} is changed": unusual,
        launch.unsupported: launch.unsupported,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def run_cell(run: TrainingRun, inputs: Inputs, gpu: RunGpu, launch: Launch, alloc_conf: str) -> Cell:
    """Return the cell of a run that is supported, with the largest of its resolutions.

    Raises:
        UsageError: a value that no run can have.
    """
    # lerobot's `use_amp` takes the place of what accelerate is told (`train` in scripts/lerobot_train.py)
    own = Cell(policy=run.policy_type, overrides={**run.overrides, "use_amp": run.use_amp})
    takes_its_own = run.use_amp or policy_spec(run.policy_type).dtype
    precision = autocast_of(own) if takes_its_own else launch.precision
    return Cell(
        policy=run.policy_type,
        overrides=dict(run.overrides),
        cameras=inputs.cameras,
        resolution=inputs.resolutions[0],
        batch_size=run.batch_size,
        state_dim=inputs.state_dim,
        action_dim=inputs.action_dim,
        optimizer=run.optimizer,
        precision=precision,
        alloc_conf=alloc_conf,
        gpu=gpu.gpu,
        capacity_bytes=gpu.capacity_bytes,
        used_by_others_bytes=gpu.used_by_others_bytes,
        cudnn_benchmark=not run.cudnn_deterministic,
    )


def run_assumptions(run: TrainingRun, launch: Launch, gpu: RunGpu) -> tuple[str, ...]:
    """Return what the answer takes for granted beside the prediction's own assumptions."""
    said: Mapping[str, bool] = {
        "evaluation during training is not counted: it keeps no activations": run.evaluates,
        "a resumed run needs what a fresh one does; reading its checkpoint is not counted": run.resume,
        "one process: how many GPUs that machine has is not known": launch.processes is None
        and gpu.count is None,
    }
    return (*(text for text, holds in said.items() if holds), *launch.assumptions)


def predict_run(cell: Cell, inputs: Inputs, processes: int) -> Result:
    """Return the prediction of `cell`, `tight` at best with several processes or cameras that differ."""
    return _with_other_cameras(_with_processes(predict_cell(cell), processes), inputs)


def _with_processes(result: Result, processes: int) -> Result:
    if processes < 2 or not result.runs:
        return result
    size = processes_bytes(processes, result.parameters)
    counted = (
        f"about {format_bytes(size)} (an estimate) for the gradient buckets and NCCL of {processes} processes"
    )
    crowded = predict_cell(_beside(result.cell, size))
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


def processes_bytes(processes: int, parameters: int) -> int:
    """Return what each GPU of a run with several processes holds beside the trace of one.

    DistributedDataParallel's buckets are a copy of the fp32 gradients; NCCL's buffers are an estimate.
    """
    return 0 if processes < 2 else parameters * 4 + NCCL_BYTES


def _beside(cell: Cell, size: int) -> Cell:
    """Return the cell on a device of which others hold `size` bytes more."""
    return replace(cell, used_by_others_bytes=cell.used_by_others_bytes + size)


def _with_other_cameras(result: Result, inputs: Inputs) -> Result:
    """Return the result for cameras of different resolutions, all counted as the largest."""
    if len(inputs.resolutions) < 2 or result.verdict == Verdict.UNKNOWN:
        return result
    differ = f"the cameras differ ({', '.join(inputs.resolutions)}), and all are counted as the largest"
    if result.runs:
        return replace(result, verdict=Verdict.TIGHT, reason=f"{differ}; {result.reason}")
    smallest = replace(result.cell, resolution=inputs.resolutions[-1])
    if predict_cell(smallest).oom is not None:
        return replace(result, reason=f"{differ}, but it runs out with the smallest too; {result.reason}")
    return replace(
        result,
        verdict=Verdict.UNKNOWN,
        reason=f"{differ}: it would run out, but not if all were the smallest. Name one size with "
        "--resolution",
    )


def find_remedies(run: TrainingRun, cell: Cell, result: Result, processes: int) -> tuple[Remedy, ...]:
    """Return what helps first against running out of memory, the best first: all can be added to the command.

    Nothing where memory is not short, only less certain as with several processes or unlike cameras. With
    several `processes` a remedy makes the run `tight` at best, as the run itself; `cell` is of one of them.
    """
    crowded = _beside(cell, processes_bytes(processes, result.parameters))
    is_short = result.verdict == Verdict.OOM or (
        result.verdict == Verdict.TIGHT and predict_cell(crowded).verdict != Verdict.FITS
    )
    if not is_short:
        return ()
    names = FIRST_REMEDIES if run.job_target is None else FOR_JOBS
    found = suggest(crowded, names=names, limit=MOST_REMEDIES)
    return tuple(_fitted(remedy, run, processes) for remedy in found)


def _fitted(remedy: Remedy, run: TrainingRun, processes: int) -> Remedy:
    if processes > 1 and remedy.after.verdict == Verdict.FITS:
        remedy = replace(remedy, after=replace(remedy.after, verdict=Verdict.TIGHT))
    if remedy.family == "resolution" and run.image_transforms is not None:
        note = f"this takes the place of the command's own image transforms; {remedy.note}"
        remedy = replace(remedy, note=note)
    return remedy
