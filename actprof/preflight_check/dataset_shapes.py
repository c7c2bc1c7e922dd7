"""The shapes that a dataset gives a policy, from its `meta/info.json`.

The file is looked for where `LeRobotDatasetMetadata` looks: `--dataset.root`, else
`$HF_LEROBOT_HOME/REPOSITORY`, else the newest snapshot below `$HF_LEROBOT_HOME/hub`, else the Hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actprof.errors import UsageError
from actprof.policies.train_command import hub_answers
from actprof.preflight_check.dataset_format import older_than_2
from actprof.preflight_check.hub_files import from_hub, is_a_path, snapshots
from actprof.training_command.command_line import expanded, hugging_face_home

_INFO = Path("meta") / "info.json"
_COLOURS, _MOST_CHANNELS = 3, 4
_GIVE = "the shapes can be given with --cameras, --resolution, --state-dim and --action-dim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What a policy's inputs and outputs are.

    Attributes:
        cameras: key of each camera -> (width, height) in pixels; only those with three channels.
        state_dim: length of `observation.state`; 0 where there is none.
        action_dim: length of `action`.
        environment_dim: length of `observation.environment_state`; 0 where there is none.
        frames, episodes: of the whole dataset; 0 when not known.
        features: of the dataset that have a shape, as its `info` has them; empty where no dataset is at hand.
        named: whether the keys are a dataset's; else they are made up.
        odd: inputs that actprof's cells do not have, in words.
    """

    cameras: Mapping[str, tuple[int, int]]
    state_dim: int
    action_dim: int
    environment_dim: int = 0
    frames: int = 0
    episodes: int = 0
    features: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True
    odd: tuple[str, ...] = ()
    source: str


def find_info(
    repo_id: str, root: str | None, revision: str | None, environment: Mapping[str, str], *, hub: bool = True
) -> tuple[dict[str, Any] | None, str]:
    """Return (the dataset's `meta/info.json`, where it was) or (None, where it was looked for).

    `HF_LEROBOT_HOME` and `HF_HOME` of the run's `environment` count; with `hub` the Hub is asked as well.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    home = _lerobot_home(environment)
    cached = snapshots(home / "hub", f"datasets--{repo_id.replace('/', '--')}", revision)
    places = [expanded(root)] if root else [home / repo_id, *cached]
    for place in places:
        path = place / _INFO
        if path.is_file():
            return _read(path), str(path)
    if root and (said := _odd_folder(places[0], repo_id)):
        raise UsageError(f"--dataset.root={root} is no LeRobotDataset that can be read: {said}")
    asks = hub and not is_a_path(repo_id)
    answers = asks and hub_answers(environment)
    fetched = from_hub(repo_id, _INFO.as_posix(), "dataset", revision, environment) if answers else None
    if fetched is not None:
        return _read(fetched), str(fetched)
    elsewhere = {
        "lerobot's cache": not root,
        "the Hub, which does not have it or does not show it to you (`hf auth whoami`)": answers,
        "not the Hub, which cannot be reached from here": asks and not answers,
    }
    first = str(places[0] / _INFO)
    if root and not places[0].is_dir():
        what = "a file, and no folder" if places[0].exists() else "not on this machine"
        first = f"--dataset.root={root}, which is {what}"
    return None, ", ".join([first, *(place for place, tried in elsewhere.items() if tried)])


def _odd_folder(folder: Path, repo_id: str) -> str:
    """Return why a folder is no dataset, where that can be told; or nothing."""
    if not folder.is_dir():
        return ""
    inside = next((path for path in (folder / repo_id, folder / repo_id.rpartition("/")[2])
                   if (path / _INFO).is_file()), None)  # fmt: skip
    if inside is not None:
        return f"it holds the dataset's folder, so name that: --dataset.root={inside}"
    return older_than_2(folder)


def shapes_of(info: Mapping[str, Any], source: str) -> Shapes:
    """Return the shapes that a dataset's `info` describes, as `dataset_to_policy_features` reads them.

    Raises:
        UsageError: it is not the description of a LeRobotDataset with actions.
    """
    features = info.get("features")
    if not isinstance(features, dict):
        raise UsageError(f"{source} does not describe a LeRobotDataset: it has no features; {_GIVE}")
    if "action" not in features:
        raise UsageError(
            f"{source} has no action among its features, and a policy learns actions; is it the right "
            f"dataset? {_GIVE.capitalize()}"
        )
    frames, episodes = (
        count if isinstance(count := info.get(name), int) else 0
        for name in ("total_frames", "total_episodes")
    )
    return replace(_shapes(features, source), frames=frames, episodes=episodes, features=_sized(features))


def _sized(features: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the features that have a shape of whole numbers."""
    found = {key: feature for key, feature in features.items() if isinstance(feature, dict)}
    shapes = {key: feature.get("shape") for key, feature in found.items()}
    return {
        key: found[key]
        for key, shape in shapes.items()
        if isinstance(shape, list | tuple) and shape and all(type(size) is int and size > 0 for size in shape)
    }


def _shapes(features: Mapping[str, Any], source: str) -> Shapes:
    cameras: dict[str, tuple[int, int]] = {}
    odd = []
    for key, feature in features.items():
        if not isinstance(feature, dict) or feature.get("dtype") not in ("video", "image"):
            continue
        height, width, channels = _image_shape(key, feature, source)
        if channels == _COLOURS:
            cameras[key] = (width, height)
        else:
            odd.append(f"{key} has {channels} channel{'s' * (channels != 1)}")
    return Shapes(
        cameras=cameras,
        state_dim=_length("observation.state", features, source),
        environment_dim=_length("observation.environment_state", features, source),
        action_dim=_length("action", features, source),
        odd=tuple(odd),
        source=source,
    )


def _length(key: str, features: Mapping[str, Any], source: str) -> int:
    return _sizes(key, features[key], source, axes=1)[0] if key in features else 0


def _sizes(key: str, feature: object, source: str, *, axes: int) -> list[int]:
    """Return the shape of a feature with so many axes.

    Raises:
        UsageError: it has none, or another number of axes, at which every policy stops.
    """
    told = feature.get("shape") if isinstance(feature, dict) else None
    try:
        sizes = [int(size) for size in told] if isinstance(told, list | tuple) else []
    except (TypeError, ValueError):
        sizes = []
    if len(sizes) != axes or min(sizes) < 1:
        what = "one length, like [6]" if axes == 1 else "three sizes, like [480, 640, 3]"
        raise UsageError(f"{key} has the shape {told!r} in {source}, and a policy takes {what}; {_GIVE}")
    return sizes


def _image_shape(key: str, feature: Mapping[str, Any], source: str) -> tuple[int, int, int]:
    """Return (height, width, channels): the names say which is first, else the side with few."""
    first, second, third = _sizes(key, feature, source, axes=3)
    names = feature.get("names")
    told = str(names[0]) if isinstance(names, list | tuple) and names else ""
    few = first <= _MOST_CHANNELS < third
    if few or (told in ("channel", "channels", "c") and not third <= _MOST_CHANNELS < first):
        return second, third, first
    return first, second, third


def _lerobot_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of lerobot's cache, as `lerobot/utils/constants.py` finds it."""
    named = environment.get("HF_LEROBOT_HOME")
    return expanded(named) if named else hugging_face_home(environment) / "lerobot"


def _read(path: Path) -> dict[str, Any]:
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError) as error:
        if text.startswith("version https://git-lfs"):
            raise UsageError(
                f"{path} is a pointer of Git LFS; fetch the files with `git lfs pull`"
            ) from error
        raise UsageError(f"{path} cannot be read: {error}; is the dataset complete?") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not the description of a LeRobotDataset")
    return data
