"""From what a command means to a `Cell`, with what it cannot say: assumptions and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from actprof.cell import OPTIMIZERS, Cell, parse_resolution
from actprof.errors import UsageError
from actprof.preflight_check.dataset_shapes import Shapes
from actprof.preflight_check.find_gpu import RunGpu
from actprof.preflight_check.image_transforms import transformed_size
from actprof.preflight_check.launcher import Launch
from actprof.preflight_check.training_run import TrainingRun
from actprof.scenario.grid import KNOWN_POLICIES

# What NCCL takes for its rings and kernels on each GPU of one machine: an estimate, no published figure.
NCCL_BYTES = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Shapes that the user gives on the command line of preflight; None: not given."""

    cameras: int | None = None
    resolution: str | None = None
    state_dim: int | None = None
    action_dim: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the policy sees: cameras, their resolutions (largest first), state and action.

    Attributes:
        resolutions: the distinct ones, `WIDTHxHEIGHT`, the largest first.
        raw: the largest before image transforms.
        unknown: why they cannot be told, or empty.
        resized: image transforms change the size.
        assumptions: what was taken for granted.
        source: where they come from.
    """

    cameras: int
    resolutions: tuple[str, ...]
    raw: str
    state_dim: int
    action_dim: int
    unknown: str = ""
    resized: bool = False
    assumptions: tuple[str, ...] = ()
    source: str = ""


def run_inputs(run: TrainingRun, shapes: Shapes | None, given: Given, *, looked: str) -> Inputs:
    """Return what the policy of `run` sees.

    Args:
        run: the command.
        shapes: of its dataset, or None where there is none.
        given: takes the place of the dataset's shapes.
        looked: where the dataset was looked for.

    Raises:
        UsageError: a shape that neither the dataset nor the user gives.
    """
    if shapes is None:
        shapes = _given_shapes(run, given, looked)
        given = Given()
    cameras, odd = _cameras_of_policy(run, shapes)
    sizes = list(cameras.values())
    said = []
    if given.resolution is not None:
        sizes = [parse_resolution(given.resolution)] * len(sizes)
        said.append(f"--resolution {given.resolution}")
    count = len(sizes) if given.cameras is None else given.cameras
    said += [] if given.cameras is None else [f"--cameras {given.cameras}"]
    said += [] if given.state_dim is None else [f"--state-dim {given.state_dim}"]
    said += [] if given.action_dim is None else [f"--action-dim {given.action_dim}"]
    assumptions = (f"{', '.join(said)} instead of what {shapes.source} says",) if said else ()
    seen = [transformed_size(width, height, run.image_transforms) for width, height in sizes]
    unknown = next((size.unknown for size in seen if size.unknown), odd)
    if not sizes:
        unknown = unknown or "the dataset has no camera, and a cell without one is not traced"
    distinct = sorted({(size.width, size.height) for size in seen}, key=lambda size: -size[0] * size[1])
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return Inputs(
        cameras=count,
        resolutions=tuple(f"{width}x{height}" for width, height in distinct),
        raw=f"{largest[0]}x{largest[1]}",
        state_dim=shapes.state_dim if given.state_dim is None else given.state_dim,
        action_dim=shapes.action_dim if given.action_dim is None else given.action_dim,
        unknown=unknown,
        resized=any(size.resized for size in seen),
        assumptions=assumptions,
        source=shapes.source,
    )


def _given_shapes(run: TrainingRun, given: Given, looked: str) -> Shapes:
    missing = [
        option
        for option, value in (
            ("--cameras", given.cameras),
            ("--resolution", given.resolution),
            ("--state-dim", given.state_dim),
            ("--action-dim", given.action_dim),
        )
        if value is None
    ]
    if missing or given.resolution is None:
        raise UsageError(
            f"the dataset {run.repo_id!r} is not to be found (looked in {looked}); name its folder with "
            f"--dataset.root, or give its shapes to preflight: {', '.join(missing)} are missing"
        )
    size = parse_resolution(given.resolution)
    return Shapes(
        cameras={f"camera{index}": size for index in range(given.cameras or 0)},
        state_dim=given.state_dim or 0,
        action_dim=given.action_dim or 0,
        source="what preflight was given",
    )


def _cameras_of_policy(run: TrainingRun, shapes: Shapes) -> tuple[dict[str, tuple[int, int]], str]:
    """Return the cameras of the policy (a pretrained one names its own), and why they are not known."""
    odd = f"the policy sees {' and '.join(shapes.odd)}, which actprof does not trace" if shapes.odd else ""
    named = [key for key, feature in run.input_features.items() if feature.get("type") == "VISUAL"]
    if not run.input_features or not named:
        return dict(shapes.cameras), odd
    if len(named) > len(shapes.cameras):
        return dict(shapes.cameras), "the pretrained policy has more cameras than the dataset"
    largest = sorted(shapes.cameras.items(), key=lambda item: -item[1][0] * item[1][1])
    return {key: shapes.cameras.get(key, largest[0][1]) for key in named}, odd


def why_unsupported(run: TrainingRun, launch: Launch, alloc_conf: str) -> str:
    """Return why actprof cannot tell this run's memory, or nothing."""
    unusual = next(iter(run.optimizer_unusual), "")
    cuda_malloc = "backend:cudaMallocAsync" in alloc_conf.replace(" ", "")
    reasons = {
        f"actprof does not trace the policy {run.policy_type} yet; it knows {', '.join(KNOWN_POLICIES)}": (
            run.policy_type not in KNOWN_POLICIES
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
    fields: dict[str, Any] = {
        "policy": run.policy_type,
        "overrides": dict(run.overrides),
        "cameras": inputs.cameras,
        "resolution": inputs.resolutions[0],
        "batch_size": run.batch_size,
        "state_dim": inputs.state_dim,
        "action_dim": inputs.action_dim,
        "optimizer": run.optimizer,
        # autocast's default on CUDA, for which lerobot asks torch (`train` in scripts/lerobot_train.py)
        "precision": "fp16" if run.use_amp else launch.precision,
        "alloc_conf": alloc_conf,
        "gpu": gpu.gpu,
        "capacity_bytes": gpu.capacity_bytes,
        "used_by_others_bytes": gpu.used_by_others_bytes,
        "cudnn_benchmark": not run.cudnn_deterministic,
    }
    return Cell(**fields)


def smallest_cell(cell: Cell, inputs: Inputs) -> Cell | None:
    """Return the cell with the smallest resolution, where cameras differ."""
    return replace(cell, resolution=inputs.resolutions[-1]) if len(inputs.resolutions) > 1 else None


def processes_bytes(processes: int, parameters: int) -> int:
    """Return what each GPU of a run with several processes holds beside the trace of one.

    DistributedDataParallel's buckets are a copy of the fp32 gradients; NCCL's buffers are an estimate.
    """
    return 0 if processes < 2 else parameters * 4 + NCCL_BYTES


def run_assumptions(run: TrainingRun, launch: Launch, gpu: RunGpu) -> tuple[str, ...]:
    """Return what the answer takes for granted beside the prediction's own assumptions."""
    said: Mapping[str, bool] = {
        "evaluation during training is not counted: it keeps no activations": run.evaluates,
        "a resumed run needs what a fresh one does; reading its checkpoint is not counted": run.resume,
        "one process: how many GPUs that machine has is not known": launch.processes is None
        and gpu.count is None,
    }
    return (*(text for text, holds in said.items() if holds), *launch.assumptions)
