"""What the policy of a command sees: the dataset's shapes, what is given instead, and image transforms."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.cell_field import parse_resolution
from actprof.errors import UsageError
from actprof.preflight_check.dataset_shapes import Shapes
from actprof.preflight_check.given import SHAPES, Given
from actprof.preflight_check.image_transforms import transformed_size
from actprof.preflight_check.training_run import TrainingRun


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
    if given.resolution is not None:
        sizes = [parse_resolution(given.resolution)] * len(sizes)
    seen = [transformed_size(width, height, run.image_transforms) for width, height in sizes]
    unknown = next((size.unknown for size in seen if size.unknown), odd)
    if not sizes:
        unknown = unknown or "the dataset has no camera, and a cell without one is not traced"
    distinct = sorted({(size.width, size.height) for size in seen}, key=lambda size: -size[0] * size[1])
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return Inputs(
        cameras=len(sizes) if given.cameras is None else given.cameras,
        resolutions=tuple(f"{width}x{height}" for width, height in distinct),
        raw=f"{largest[0]}x{largest[1]}",
        state_dim=shapes.state_dim if given.state_dim is None else given.state_dim,
        action_dim=shapes.action_dim if given.action_dim is None else given.action_dim,
        unknown=unknown,
        resized=any(size.resized for size in seen),
        assumptions=_assumptions(given, shapes),
        source=shapes.source,
    )


def _assumptions(given: Given, shapes: Shapes) -> tuple[str, ...]:
    names = ("resolution", "cameras", "state_dim", "action_dim")
    said = [f"{_option(name)} {value}" for name in names if (value := getattr(given, name)) is not None]
    return (f"{', '.join(said)} instead of what {shapes.source} says",) if said else ()


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _given_shapes(run: TrainingRun, given: Given, looked: str) -> Shapes:
    missing = [_option(name) for name in SHAPES if getattr(given, name) is None]
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
    if not named:
        return dict(shapes.cameras), odd
    if len(named) > len(shapes.cameras):
        return dict(shapes.cameras), "the pretrained policy has more cameras than the dataset"
    largest = max(shapes.cameras.values(), key=lambda size: size[0] * size[1])
    return {key: shapes.cameras.get(key, largest) for key in named}, odd
