"""One command from question to answer: parts, meaning, dataset, GPU, cell, prediction, traps, remedies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from actprof.advice.remedies import first_remedies
from actprof.advice.suggest import Remedy, suggest
from actprof.allocator.config import AllocatorConfig
from actprof.cell import OPTIMIZERS, Cell
from actprof.errors import ActprofError, UsageError
from actprof.measuring.nvml import usable_gpus
from actprof.policies import policy_names, policy_spec
from actprof.policies.facts import PolicyFacts
from actprof.policies.lerobot_versions import lerobot_version
from actprof.policies.precision import autocast_of
from actprof.prediction.predict import predict_cell
from actprof.preflight_check.dataset_format import NO_CAMERA, dataset_traps
from actprof.preflight_check.dataset_shapes import Shapes, find_info, shapes_of
from actprof.preflight_check.duration import run_duration
from actprof.preflight_check.find_gpu import RunGpu, run_gpu
from actprof.preflight_check.host_memory import host_need, run_loading, with_weights
from actprof.preflight_check.named_values import value_traps
from actprof.preflight_check.policy_inputs import Inputs, run_inputs
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.read_command import read_command
from actprof.preflight_check.task_length import TaskLength, task_length
from actprof.preflight_check.training_run import TrainingRun, takes_precision
from actprof.preflight_check.trap import Trap
from actprof.preflight_check.traps import find_traps, run_traps
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace
from actprof.training_command.command_line import CommandLine, Given
from actprof.training_command.launcher import Launch, allocator_settings, launch_of
from actprof.training_command.sharing import cell_fields
from actprof.versions import UNKNOWN, package_version

MOST_REMEDIES = 3


def run_preflight(
    command: CommandLine, given: Given, *, may_exist: bool = False, remedies: bool = True
) -> Preflight:
    """Return the answer for `command`; raises as `actprof.preflight`.

    With `may_exist` an output folder that is there already is not refused, as lerobot does.
    """
    early = tuple(value_traps(command))
    with _explained(early):
        answer = _answer(command, given, may_exist=may_exist, remedies=remedies)
    return replace(answer, traps=(*early, *answer.traps))


@contextlib.contextmanager
def _explained(traps: Sequence[Trap]) -> Iterator[None]:
    """Say what is wrong with a command's words where it has no answer, before what follows from that."""
    try:
        yield
    except ActprofError as error:
        said = "\n".join(trap.text for trap in traps)
        if not said:
            raise
        raise UsageError(f"{said}\n{error}") from error


def _answer(command: CommandLine, given: Given, *, may_exist: bool, remedies: bool) -> Preflight:
    seen = command.seen_environment()
    run = read_command(command.arguments, may_exist=may_exist, environment=seen)
    settings = allocator_settings(seen)
    # lerobot submits the bare command to a job: neither launcher nor environment go with it.
    launch = Launch() if run.job_target else launch_of(command)
    conf = "" if run.job_target else settings.text
    reason = why_unsupported(run, launch, conf)
    answer = Preflight(reason=reason, command=command, run=run, launch=launch, settings=settings)
    if reason:
        return replace(answer, traps=run_traps(run, launch, seen))
    AllocatorConfig.parse(conf)  # what PyTorch refuses, before anything else takes time
    shapes, looked, traps = _shapes(run, seen, given)
    inputs = run_inputs(run, shapes, given, looked=looked)
    task = TaskLength() if shapes is None else task_length(run, looked, seen)
    gpu, processes = _gpu(command, run, launch, given)
    answer = replace(answer, reason=inputs.unknown, inputs=inputs, gpu=gpu)
    if inputs.unknown:
        return replace(answer, traps=(*traps, *find_traps(answer)))
    is_given = (given.cameras, given.resolution) != (None, None)
    on_each = -(-processes // launch.machines)
    loading = run_loading(run, command, None if is_given else shapes, inputs)
    host = host_need(run, command, replace(loading, processes=on_each), here=gpu.here)
    cell = replace(
        run_cell(run, inputs, gpu, launch, conf),
        task_tokens=task.tokens,
        **cell_fields(run.sharing, launch.sharing, processes),
    )
    with _explained([trap for trap in traps if trap.name == NO_CAMERA]):
        result = predict_cell(cell)
    said = (*inputs.assumptions, *filter(None, [task.assumed]), *run_assumptions(run, launch, gpu))
    said = (*command.notes, *said)
    result = replace(result, assumptions=(*result.assumptions, *said))
    answer = replace(answer, verdict=result.verdict, reason=result.reason, result=result, assumptions=said)
    facts = policy_facts(cell)
    answer = replace(answer, facts=facts, host=with_weights(host, facts))
    frames = 0 if shapes is None else shapes.frames
    return replace(
        answer,
        traps=(*traps, *find_traps(answer)),
        remedies=find_remedies(run, cell, result) if remedies else (),
        duration=run_duration(run, result, given, frames=frames),
    )


def _shapes(
    run: TrainingRun, seen: dict[str, str], given: Given
) -> tuple[Shapes | None, str, tuple[Trap, ...]]:
    """Return the dataset's shapes or None, where they are or were looked for, and the dataset's traps."""
    try:
        info, where = find_info(run.repo_id, run.root, run.revision, seen, hub=not given.is_whole)
        if info is None:
            return None, where, ()
        return shapes_of(info, where), where, tuple(dataset_traps(run, info, where))
    except UsageError:
        if not given.is_whole:  # else nobody needs the file that cannot be read
            raise
        return None, "", ()


def _gpu(command: CommandLine, run: TrainingRun, launch: Launch, given: Given) -> tuple[RunGpu, int]:
    """Return the GPU and how many processes there are, each on one like it."""
    seen, target = command.seen_environment(), run.job_target or command.flavour or None
    named = given.gpu is not None or given.capacity is not None or target is not None
    if command.elsewhere and not named:
        raise UsageError(
            f"the command runs on another machine ({command.elsewhere}), whose GPU is not known here; name "
            "it with --gpu, or its memory with --capacity"
        )
    processes = launch.processes or (1 if named else max(len(usable_gpus(seen)), 1))
    try:
        return run_gpu(given, job_target=target, processes=processes, environment=seen), processes
    except UsageError as error:
        if run.job_target or not command.flavour:
            raise
        raise UsageError(str(error).replace("--job.target=", "--flavor ")) from error


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
        "a changed normalization of images changes the batch, which actprof does not trace": (
            "VISUAL" in run.normalization
        ),
        f"actprof does not know the optimizer {run.optimizer!r}; it knows {', '.join(OPTIMIZERS)}": (
            run.optimizer not in OPTIMIZERS
        ),
        f"actprof takes an optimizer's defaults, and --optimizer.{unusual} is changed": unusual,
        launch.unsupported: launch.unsupported,
        **{sharing.unsupported: sharing.unsupported for sharing in (run.sharing, launch.sharing) if sharing},
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def run_cell(run: TrainingRun, inputs: Inputs, gpu: RunGpu, launch: Launch, alloc_conf: str) -> Cell:
    """Return the cell of a run that is supported.

    Raises:
        UsageError: a value that no run can have.
    """
    spec = policy_spec(run.policy_type)
    if spec.needs_field and spec.needs_field not in run.overrides:
        base = next(iter(spec.bases), "")
        raise UsageError(
            f"lerobot-train refuses this command: {spec.title} cannot be built without "
            f"--policy.{spec.needs_field}\nstart with --policy.path={base} instead of --policy.type"
        )
    if run.peft and not run.pretrained:
        raise UsageError(
            "lerobot-train refuses this command: training from scratch using PEFT is unlikely to yield good "
            "results\nadd --policy.pretrained_path, or --policy.path instead of --policy.type"
        )
    overrides = dict(run.overrides)
    if inputs.empty_cameras is not None:
        overrides["empty_cameras"] = inputs.empty_cameras
    if spec.use_amp and not run.use_amp:
        overrides["use_amp"] = False
    return Cell(
        policy=run.policy_type,
        overrides={name: value for name, value in overrides.items() if (name, value) != ("empty_cameras", 0)},
        cameras=len(inputs.resolutions),
        resolution=",".join(inputs.resolutions) or Cell().resolution,
        batch_size=run.batch_size,
        state_dim=inputs.state_dim,
        action_dim=inputs.action_dim,
        environment_dim=inputs.environment_dim,
        optimizer=run.optimizer,
        peft=run.peft,
        accumulate=run.accumulate,
        ema=run.ema,
        precision=_precision(run, launch),
        alloc_conf=alloc_conf,
        gpu=gpu.gpu,
        capacity_bytes=gpu.capacity_bytes,
        used_by_others_bytes=gpu.used_by_others_bytes,
        cudnn_benchmark=not run.cudnn_deterministic,
    )


def _precision(run: TrainingRun, launch: Launch) -> str:
    """Return the cell's precision: the launcher's where it counts, and nothing that the policy's config says.

    `use_amp` takes the place of what accelerate is told (`train` in lerobot/scripts/lerobot_train.py).
    """
    spec = policy_spec(run.policy_type)
    if run.use_amp and not spec.dtype:
        return "fp32" if spec.use_amp else autocast_of(Cell(policy=spec.name, overrides={"use_amp": True}))
    told = run.precision or launch.precision
    own = autocast_of(Cell(policy=spec.name, overrides=run.overrides))
    return told if told != own and takes_precision(replace(run, use_amp=False), told) else "fp32"


def run_assumptions(run: TrainingRun, launch: Launch, gpu: RunGpu) -> tuple[str, ...]:
    """Return what the answer takes for granted beside the prediction's own assumptions."""
    said: Mapping[str, object] = {
        "evaluation during training is not counted: it keeps no activations": run.evaluates,
        f"the config of {run.pretrained} is {run.config_from}": bool(run.config_from),
        "another normalization of state and action takes as much": run.normalization,
        "a resumed run needs what a fresh one does; reading its checkpoint is not counted": run.resume,
        f"the command is read as lerobot {lerobot_version()} reads it: none is installed here": (
            package_version("lerobot") == UNKNOWN
        ),
        f"the network between {launch.machines} machines is not known: a step may take longer": (
            launch.machines > 1
        ),
        "one process: how many GPUs that machine has is not known": launch.processes is None
        and gpu.count is None,
    }
    return (*(text for text, holds in said.items() if holds), *launch.assumptions)


def policy_facts(cell: Cell) -> PolicyFacts | None:
    """Return what the traced policy says of itself; None where nothing was traced."""
    trace = cached_trace(cell)
    return None if trace is None else trace.policy


def find_remedies(run: TrainingRun, cell: Cell, result: Result) -> tuple[Remedy, ...]:
    """Return what helps first where memory is short, the best first: all can be added to the command."""
    if result.verdict not in (Verdict.OOM, Verdict.TIGHT) or not result.available_bytes:
        return ()
    # lerobot submits the bare command to a job: neither a variable nor a script of one's own goes with it.
    names = first_remedies(cell, in_command=run.job_target is not None)
    found = suggest(cell, names=names, limit=MOST_REMEDIES)
    return tuple(_fitted(remedy, run) for remedy in found)


def _fitted(remedy: Remedy, run: TrainingRun) -> Remedy:
    if remedy.family == "resolution" and run.image_transforms is not None:
        note = f"this takes the place of the command's own image transforms; {remedy.note}"
        remedy = replace(remedy, note=note)
    return remedy
