"""What the policy of a command sees: the dataset's shapes, what is given instead, and image transforms.

lerobot draws `max_num_transforms` of them at random for each frame (`RandomSubsetApply`), so a resize holds
only where every transform is always drawn. Sizes follow `torchvision.transforms.v2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from actprof.cell_field import parse_resolution
from actprof.errors import UsageError
from actprof.preflight_check.command_line import SHAPES, Given
from actprof.preflight_check.dataset_shapes import Shapes
from actprof.preflight_check.training_run import TrainingRun

# Transforms of torchvision and of lerobot that leave the size, the channels and the type as they are.
_SAME_SIZE = {
    "AutoContrast", "CoarseDropout", "ColorJitter", "ElasticTransform", "GammaCorrection", "GaussianBlur",
    "GaussianNoise", "GaussianPatchBrightness", "Identity", "JPEG", "JPEGCompression", "MotionBlur",
    "PlanckianJitter", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast",
    "RandomChannelPermutation", "RandomEqualize", "RandomErasing", "RandomHorizontalFlip",
    "RandomInvert", "RandomPerspective",
    "RandomPhotometricDistort", "RandomPosterize", "RandomShadow", "RandomSolarize", "RandomVerticalFlip",
    "SharpnessJitter",
}  # fmt: skip
_FIXED_SIZE = {"CenterCrop", "RandomCrop", "RandomResizedCrop"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the policy sees: cameras, their resolutions (largest first), state and action.

    Attributes:
        resolutions: the distinct ones, `WIDTHxHEIGHT`.
        raw: the largest before image transforms.
        unknown: why they cannot be told, or empty.
        resized: image transforms change the size.
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
    """Return what the policy of `run` sees: the `shapes` of its dataset, and those `given` instead of them.

    Without a dataset `shapes` is None, and `looked` says where it was looked for.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformedSize:
    """The size after the transforms, whether they change it, and why it cannot be told (or nothing)."""

    width: int
    height: int
    resized: bool = False
    unknown: str = ""


def transformed_size(width: int, height: int, transforms: Mapping[str, Any] | None) -> TransformedSize:
    """Return the size of frames of `width` and `height` pixels after lerobot's `dataset.image_transforms`.

    `transforms` is lerobot's config of them, None when they are off.
    """
    unknown = partial(TransformedSize, width=width, height=height, resized=True)
    if transforms is not None and not _is_complete(transforms):
        return unknown(unknown="the image transforms are not what lerobot can draw from")
    drawn = [item for item in ((transforms or {}).get("tfs") or {}).values() if item["weight"] > 0]
    resizing = [item for item in drawn if item["type"] not in _SAME_SIZE]
    if transforms is None or not resizing or transforms["max_num_transforms"] == 0:  # 0: none is drawn
        return TransformedSize(width=width, height=height)
    if transforms["max_num_transforms"] < len(drawn):
        return unknown(
            unknown=f"{resizing[0]['type']} is drawn for some frames only (max_num_transforms is "
            f"{transforms['max_num_transforms']} of {len(drawn)}), and frames of different sizes make no "
            "batch"
        )
    if transforms["random_order"] and len(resizing) > 1:
        return unknown(unknown="several image transforms change the size, in a random order")
    size = (width, height)
    for item in resizing:
        after = _size_after(size, item)
        if after is None:
            return unknown(unknown=f"actprof does not know what {item['type']} does to a frame's size")
        size = after
    return TransformedSize(width=size[0], height=size[1], resized=True)


def _is_complete(transforms: Mapping[str, Any]) -> bool:
    """Tell whether nothing is null that lerobot would stumble over."""
    items = (transforms.get("tfs") or {}).values()
    most = transforms.get("max_num_transforms")
    return type(most) is int and all(
        isinstance(item.get("weight"), int | float)
        and isinstance(item.get("type"), str)
        and isinstance(item.get("kwargs"), dict)
        for item in items
    )


def _size_after(size: tuple[int, int], item: Mapping[str, Any]) -> tuple[int, int] | None:
    wanted = item["kwargs"].get("size")
    if isinstance(wanted, list) and len(wanted) == 1:
        wanted = wanted[0]
    if isinstance(wanted, list) and len(wanted) == 2 and all(_is_length(side) for side in wanted):
        return (wanted[1], wanted[0]) if item["type"] in {*_FIXED_SIZE, "Resize"} else None
    if not _is_length(wanted):
        return None
    if item["type"] in _FIXED_SIZE:
        return wanted, wanted
    if item["type"] == "Resize" and "max_size" not in item["kwargs"]:
        short, long = sorted(size)
        scaled = int(wanted * long / short)
        return (wanted, scaled) if size[0] <= size[1] else (scaled, wanted)
    return None


def _is_length(value: Any) -> bool:
    return type(value) is int and value > 0
