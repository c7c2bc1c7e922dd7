"""Traps of a dataset: formats that lerobot refuses, nothing to learn from, episodes shorter than a chunk.

lerobot from 0.4.0 on writes and reads format 3.0: `check_version_compatibility` in lerobot/datasets/utils.py
refuses an older major version and lets newer ones pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.trap import Trap
from actprof.units import format_bytes
from actprof.versions import package_version

FORMAT = (3, 0)
NO_CAMERA = "no_camera"
_LARGE_BYTES = 1 << 20
_FROM_2_1 = "python -m lerobot.scripts.convert_dataset_v21_to_v30"
_FROM_2_0 = "python -m lerobot.datasets.v21.convert_dataset_v20_to_v21"
_FROM_1 = "python lerobot/common/datasets/v2/convert_dataset_v1_to_v2.py"


def dataset_traps(run: TrainingRun, info: Mapping[str, Any], where: str) -> Iterator[Trap]:
    """Yield the traps of a dataset by its `info` (`meta/info.json`), which was found at `where`."""
    yield from _of_version(run, info.get("codebase_version"), where)
    counts = {name: info.get(f"total_{name}") for name in ("episodes", "frames")}
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        yield Trap(
            "empty_dataset",
            f"the dataset has 0 {' and 0 '.join(empty)} ({where}): lerobot-train stops with it. Was the "
            "recording finished, and the whole dataset copied?",
            stops=True,
        )
    yield from _of_description(info, where)
    yield from _of_chunks(run, counts["episodes"], counts["frames"])
    yield from _of_large_observations(info.get("features"), run.batch_size)
    features = info.get("features")
    if isinstance(features, dict) and not any(_is_seen(key, feature) for key, feature in features.items()):
        yield Trap(NO_CAMERA, f"the dataset has no camera ({where}): no feature is an image or a video.")


def _of_description(info: Mapping[str, Any], where: str) -> Iterator[Trap]:
    """Yield what `DatasetInfo` and `dataset_to_policy_features` stop at (lerobot/datasets, lerobot/utils)."""
    fps = info.get("fps", 1)  # what is left out is left out by somebody who wrote it by hand
    if not isinstance(fps, int | float) or fps <= 0:
        text = f"{where} has fps {fps!r}, and lerobot-train stops at that. Write the rate of recording."
        yield Trap("no_fps", text, stops=True)
    features = info.get("features")
    for key, feature in features.items() if isinstance(features, dict) else ():
        if not isinstance(feature, dict) or feature.get("dtype") not in ("image", "video"):
            continue
        names = feature.get("names", ())
        if names is None or (isinstance(names, list) and 0 < len(names) < 3):
            yield Trap(
                "no_names",
                f"{key} has no names in {where}, and lerobot-train stops at that (TypeError). Write "
                '"names": ["height", "width", "channels"], in the order of its shape.',
                stops=True,
            )


def _of_large_observations(features: object, batch_size: int) -> Iterator[Trap]:
    """Yield what goes to the GPU with each batch and no policy reads, like depth kept as numbers."""
    for key, feature in features.items() if isinstance(features, dict) else ():
        if not key.startswith("observation.") or not isinstance(feature, dict):
            continue
        shape, wide = feature.get("shape"), re.search(r"\d+$", str(feature.get("dtype")))
        if wide is None or not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
            continue
        size = math.prod(shape) * int(wide[0]) // 8 * batch_size
        if size >= _LARGE_BYTES:
            yield Trap(
                "large_observation",
                f"{key} has {shape} numbers of {feature['dtype']}: {format_bytes(size)} that go to the GPU "
                "with each batch, and no policy reads them; they are not counted. Leave it out.",
            )


def _is_seen(key: str, feature: object) -> bool:
    """Tell whether a feature is a camera's, or stands for one."""
    is_camera = isinstance(feature, dict) and feature.get("dtype") in ("image", "video")
    return is_camera or key == "observation.environment_state"


def _of_version(run: TrainingRun, told: object, where: str) -> Iterator[Trap]:
    if told is None:
        return  # a description that somebody wrote; lerobot's own always has it
    match = re.fullmatch(r"v?(\d+)(?:\.(\d+))?(?:\.\d+)?", str(told))
    lerobot = f"lerobot {package_version('lerobot')}".removesuffix(" unknown")
    if match is None:
        yield Trap("dataset_version", f"codebase_version {told!r} in {where} is no version.", stops=True)
        return
    version = (int(match[1]), int(match[2] or 0))
    if version[0] < FORMAT[0]:
        yield Trap(
            "dataset_version",
            f"the dataset has format v{version[0]}.{version[1]} ({where}), and {lerobot} refuses it "
            f"(BackwardCompatibilityError): it reads v3.0. {_conversion(run, version)}",
            stops=True,
        )
    elif version > FORMAT:
        yield Trap(
            "dataset_version",
            f"the dataset has format v{version[0]}.{version[1]} ({where}), newer than the v3.0 that "
            f"{lerobot} writes; it may not be read rightly. Update lerobot.",
        )


def _conversion(run: TrainingRun, version: tuple[int, int]) -> str:
    """Return the commands that make a dataset one of format 3.0."""
    local = f" --root={run.root} --push-to-hub=false" if run.root else ""
    last = f"{_FROM_2_1} --repo-id={run.repo_id}{local}"
    if version == (2, 1):
        return f"Convert it: {last}"
    second = f"{_FROM_2_0} --repo-id={run.repo_id}{local}"
    if version[0] == 2:
        return (
            f"Convert it twice, first with lerobot 0.3.3 (pip install lerobot==0.3.3): {second}\nthen: {last}"
        )
    return (
        f"Convert it with lerobot of early 2025 ({_FROM_1} --repo-id={run.repo_id} --single-task=…), then "
        f"with lerobot 0.3.3: {second}\nthen: {last}\nor record it anew"
    )


def _of_chunks(run: TrainingRun, episodes: object, frames: object) -> Iterator[Trap]:
    chunk = run.horizon
    if not (isinstance(episodes, int) and isinstance(frames, int) and chunk and episodes > 0 < frames):
        return
    mean = frames / episodes
    if mean <= run.dropped_frames:
        yield Trap(
            "episodes_too_short",
            f"an episode has {mean:,.0f} frames on average, and the last {run.dropped_frames} of each are "
            "dropped (drop_n_last_frames): lerobot-train stops where none is left.",
        )
    elif mean < chunk:
        yield Trap(
            "chunk_longer_than_episodes",
            f"an episode has {mean:,.0f} frames on average, and a chunk {chunk}: what reaches beyond its end "
            "is padding, computed like the rest and not learnt from. A shorter chunk takes less memory.",
        )


def older_than_2(folder: Path) -> str:
    """Return what to say of a folder in the format of 2024, which has no `meta/info.json`; or nothing."""
    if not (folder / "meta_data" / "info.json").is_file():
        return ""
    return "it has meta_data/info.json, as datasets of format v1 of 2024 had, which lerobot reads no more"
