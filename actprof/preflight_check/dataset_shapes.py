"""The shapes that a dataset gives a policy, from its `meta/info.json`.

The file is looked for where `LeRobotDatasetMetadata` looks: `--dataset.root`, else
`$HF_LEROBOT_HOME/REPOSITORY`, else the newest snapshot below `$HF_LEROBOT_HOME/hub`, else the Hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actprof.errors import UsageError
from actprof.preflight_check.command_line import hugging_face_home

HUB_SECONDS = 3.0
_INFO = Path("meta") / "info.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What a policy's inputs and outputs are.

    Attributes:
        cameras: key of each camera -> (width, height) in pixels; only those with three channels.
        state_dim: length of `observation.state`; 0 where there is none.
        action_dim: length of `action`.
        frames: of the whole dataset; 0 when not known.
        odd: inputs that actprof's cells do not have, in words.
    """

    cameras: Mapping[str, tuple[int, int]]
    state_dim: int
    action_dim: int
    frames: int = 0
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
    places = [Path(root).expanduser()] if root else [home / repo_id, *_snapshots(home, repo_id, revision)]
    for place in places:
        path = place / _INFO
        if path.is_file():
            return _read(path), str(path)
    fetched = _from_hub(repo_id, revision) if hub else None
    if fetched is not None:
        return _read(fetched), f"the Hub, {repo_id}"
    elsewhere = {"lerobot's cache": not root, "the Hub": hub}
    return None, ", ".join([str(places[0] / _INFO), *(place for place, tried in elsewhere.items() if tried)])


def shapes_of(info: Mapping[str, Any], source: str) -> Shapes:
    """Return the shapes that a dataset's `info` describes, as `dataset_to_policy_features` reads them.

    Raises:
        UsageError: it is not the description of a LeRobotDataset with actions.
    """
    try:
        return replace(_shapes(info["features"], source), frames=int(info.get("total_frames", 0)))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise UsageError(
            f"{source} does not describe a LeRobotDataset ({type(error).__name__}: {error}); "
            "give the shapes with --cameras, --resolution, --state-dim and --action-dim"
        ) from error


def _shapes(features: Mapping[str, Any], source: str) -> Shapes:
    cameras: dict[str, tuple[int, int]] = {}
    odd = []
    for key, feature in features.items():
        if key == "observation.environment_state":
            odd.append(key)
        if feature["dtype"] not in ("video", "image"):
            continue
        height, width, channels = _image_shape(feature)
        if channels == 3:
            cameras[key] = (width, height)
        else:
            odd.append(f"{key} has {channels} channel{'s' * (channels != 1)}")
    state = features.get("observation.state")
    return Shapes(
        cameras=cameras,
        state_dim=int(state["shape"][0]) if state else 0,
        action_dim=int(features["action"]["shape"][0]),
        odd=tuple(odd),
        source=source,
    )


def _image_shape(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return (height, width, channels); the names tell which is first."""
    first, second, third = (int(size) for size in feature["shape"])
    names = feature.get("names") or ["height", "width", "channels"]
    if names[0] in ("channel", "channels"):
        return second, third, first
    return first, second, third


def _lerobot_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of lerobot's cache, as `lerobot/utils/constants.py` finds it."""
    named = environment.get("HF_LEROBOT_HOME")
    return Path(named).expanduser() if named else hugging_face_home(environment) / "lerobot"


def _snapshots(home: Path, repo_id: str, revision: str | None) -> list[Path]:
    """Return the dataset's snapshots in lerobot's Hub cache: that of the revision, else the newest first."""
    folder = home / "hub" / f"datasets--{repo_id.replace('/', '--')}"
    snapshots = folder / "snapshots"
    if revision:
        reference = folder / "refs" / revision
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
        return [snapshots / commit]
    found = [path for path in snapshots.glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}; is the dataset complete?") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not the description of a LeRobotDataset")
    return data


def _from_hub(repo_id: str, revision: str | None) -> Path | None:
    """Return a copy of the Hub's file, or None where it cannot be had in a few seconds."""
    import socket

    try:
        socket.create_connection(("huggingface.co", 443), timeout=HUB_SECONDS).close()
    except OSError:
        return None
    from huggingface_hub import hf_hub_download

    asked: dict[str, Any] = {"repo_type": "dataset", "revision": revision, "etag_timeout": HUB_SECONDS}
    try:
        return Path(hf_hub_download(repo_id, _INFO.as_posix(), **asked))
    except Exception:  # noqa: BLE001 - no connection, no such dataset, not ours to see: the next answer says so
        return None
