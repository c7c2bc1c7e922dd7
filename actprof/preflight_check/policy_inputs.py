"""What the policy of a command sees: the dataset's shapes, what is given instead, and image transforms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actprof.cell_field import parse_resolution
from actprof.errors import UsageError
from actprof.policies import policy_spec
from actprof.preflight_check.dataset_shapes import Shapes
from actprof.preflight_check.image_transforms import transformed_size
from actprof.preflight_check.training_run import TrainingRun
from actprof.training_command.command_line import SHAPES, Given


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the policy sees: its cameras, state and action.

    Attributes:
        resolutions: `WIDTHxHEIGHT` of each camera that the dataset has for it.
        raw: the largest before image transforms; empty without a camera.
        environment_dim: length of `observation.environment_state`; 0 where there is none.
        empty_cameras: cameras that it computes on empty images beside those; None as its config says.
        unknown: why they cannot be told, or empty.
        resized: image transforms change the size.
    """

    resolutions: tuple[str, ...]
    raw: str
    state_dim: int
    action_dim: int
    environment_dim: int = 0
    empty_cameras: int | None = None
    unknown: str = ""
    resized: bool = False
    assumptions: tuple[str, ...] = ()
    source: str = ""

    @property
    def largest(self) -> str:
        """The resolution of the largest camera; empty without one."""
        return max(self.resolutions, key=_pixels, default="")

    @property
    def sizes(self) -> str:
        """The resolutions that there are, each once: `640x480, 320x240`."""
        return ", ".join(dict.fromkeys(self.resolutions))


def _pixels(resolution: str) -> int:
    width, height = parse_resolution(resolution)
    return width * height


def run_inputs(run: TrainingRun, shapes: Shapes | None, given: Given, *, looked: str) -> Inputs:
    """Return what the policy of `run` sees: the `shapes` of its dataset, and those `given` instead of them.

    Without a dataset `shapes` is None, and `looked` says where it was looked for; a policy's own config may
    say them then.

    Raises:
        UsageError: a shape that neither the dataset nor the user gives, or cameras that lerobot refuses.
    """
    if shapes is None:
        shapes = _shapes_without_dataset(run, given, looked)
        given = Given()
    cameras = _cameras(shapes, given)
    seen, empty, unknown = cameras_of_policy(run, cameras, named=shapes.named and given.cameras is None)
    own = {*_visual(run), *(key for key, name in run.rename_map.items() if name in _visual(run))}
    odd = [text for text in shapes.odd if not own or text.split()[0] in own]
    if odd:
        unknown = unknown or (
            f"{' and '.join(odd)}, and the image encoders of lerobot's policies take three (a depth camera? "
            "leave it out of the dataset, or name the cameras to use in --policy.input_features)"
        )
    after = [transformed_size(width, height, run.image_transforms) for width, height in seen.values()]
    largest = max(seen.values(), key=lambda size: size[0] * size[1], default=None)
    return Inputs(
        resolutions=tuple(f"{size.width}x{size.height}" for size in after),
        raw="" if largest is None else f"{largest[0]}x{largest[1]}",
        state_dim=shapes.state_dim if given.state_dim is None else given.state_dim,
        action_dim=shapes.action_dim if given.action_dim is None else given.action_dim,
        environment_dim=shapes.environment_dim,
        empty_cameras=empty,
        unknown=next((size.unknown for size in after if size.unknown), unknown),
        resized=any(size.resized for size in after),
        assumptions=_assumptions(given, shapes),
        source=shapes.source,
    )


def _assumptions(given: Given, shapes: Shapes) -> tuple[str, ...]:
    names = ("resolution", "cameras", "state_dim", "action_dim")
    said = [f"{_option(name)} {value}" for name in names if (value := getattr(given, name)) is not None]
    return (f"{', '.join(said)} instead of what {shapes.source} says",) if said else ()


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shapes_without_dataset(run: TrainingRun, given: Given, looked: str) -> Shapes:
    """Return the shapes that are given, and for what is not those of the policy's own config."""
    vectors = {**run.input_features, **run.output_features}
    sizes = {key: (feature["shape"][2], feature["shape"][1]) for key, feature in _visual(run).items()}
    known: dict[str, Any] = {
        "cameras": len(sizes) or None,
        "resolution": ",".join(f"{width}x{height}" for width, height in sizes.values()) or None,
        "state_dim": _length(vectors.get("observation.state")),
        "action_dim": _length(vectors.get("action")),
    }
    if given.cameras not in (None, len(sizes)):
        known["resolution"] = None  # of other cameras
    if given.cameras == 0:
        known["resolution"] = ""
    taken = {name: known[name] if getattr(given, name) is None else getattr(given, name) for name in SHAPES}
    missing = [_option(name) for name in SHAPES if taken[name] is None]
    if missing:
        raise UsageError(
            f"the dataset {run.repo_id!r} is not to be found (looked in {looked}); name its folder here with "
            f"--dataset.root, or give its shapes to preflight: {', '.join(missing)} are missing"
        )
    own = [name for name in SHAPES if getattr(given, name) is None]
    listed = _listed(taken["resolution"], taken["cameras"])
    return Shapes(
        cameras=dict(zip(_names(sizes, len(listed)), listed, strict=True)),
        state_dim=taken["state_dim"],
        environment_dim=_length(vectors.get("observation.environment_state")) or 0,
        action_dim=taken["action_dim"],
        named=given.cameras is None and bool(sizes),
        source="the policy's own config" if own else "what preflight was given",
    )


def _names(sizes: Mapping[str, Any], count: int) -> list[str]:
    return list(sizes) if len(sizes) == count else [f"camera{index}" for index in range(count)]


def _visual(run: TrainingRun) -> dict[str, Mapping[str, Any]]:
    """Return the cameras that a policy's config names."""
    features = run.input_features.items()
    return {
        k: feature for k, feature in features if feature["type"] == "VISUAL" and len(feature["shape"]) == 3
    }


def _length(feature: Mapping[str, Any] | None) -> int | None:
    return int(feature["shape"][0]) if feature else None


def _listed(resolution: str, cameras: int) -> list[tuple[int, int]]:
    """Return the size of each camera of a text with one resolution for all, or one for each."""
    sizes = [parse_resolution(text.strip()) for text in resolution.split(",")] if resolution else []
    if len(sizes) not in (min(cameras, 1), cameras):
        raise UsageError(
            f"there are {len(sizes)} resolutions for {cameras} cameras; give one, or one for each"
        )
    return sizes * cameras if len(sizes) == 1 else sizes


def _cameras(shapes: Shapes, given: Given) -> dict[str, tuple[int, int]]:
    """Return the cameras of a dataset, or those given instead: others are as large as its largest."""
    sizes = list(shapes.cameras.values())
    count = len(sizes) if given.cameras is None else given.cameras
    if given.resolution is not None:
        sizes = _listed(given.resolution, count)
    elif count != len(sizes):
        sizes = [max(sizes, key=lambda size: size[0] * size[1], default=(640, 480))] * count
    return dict(zip(_names(shapes.cameras, count), sizes, strict=True))


def cameras_of_policy(
    run: TrainingRun, cameras: Mapping[str, tuple[int, int]], *, named: bool
) -> tuple[dict[str, tuple[int, int]], int | None, str]:
    """Return the cameras that the policy sees, how many empty ones beside, and why that is not known.

    A pretrained policy keeps its own cameras (`make_policy` in lerobot/policies/factory.py); those of the
    dataset are known to it by `rename_map`. Without one, the names on one side must be among those on the
    other. Where the dataset's names are not known (`named` is false) they are taken to be right.

    Raises:
        UsageError: lerobot refuses the cameras, or stops at the first step.
    """
    own = list(_visual(run))
    if not own:
        return dict(cameras), None, ""
    if named:
        there = {run.rename_map.get(key, key): size for key, size in cameras.items()}
        is_inside = set(own) <= set(there) or set(there) <= set(own)
        if not is_inside and not run.rename_map:
            raise UsageError(_mismatch(own, list(cameras)))
    else:
        there = dict(zip(own, cameras.values(), strict=False))
    seen = {key: there[key] for key in own if key in there}
    if not seen:
        raise UsageError(f"none of the policy's cameras is in the dataset; {_mismatch(own, list(cameras))}")
    asked = int(run.overrides.get("empty_cameras") or 0)
    absent = len({*own, *(f"observation.images.empty_camera_{index}" for index in range(asked))}) - len(seen)
    if not absent:
        return seen, None, ""
    match policy_spec(run.policy_type).absent_cameras:
        case "skipped":
            return seen, min(absent, asked), ""
        case "empty":
            return seen, absent, ""
    return seen, None, f"the pretrained policy has {len(own)} cameras, and the dataset {len(seen)} of them"


def _mismatch(own: Sequence[str], there: Sequence[str]) -> str:
    """Return lerobot's words on cameras of other names, with a map that would do."""
    pairs = json.dumps(dict(zip(there, own, strict=False)))
    return (
        "lerobot-train refuses this command: feature mismatch between dataset and policy config: the dataset "
        f"has {', '.join(there)}, and the policy {', '.join(own)}\nadd --rename_map='{pairs}'"
    )
