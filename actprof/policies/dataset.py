"""A stand-in for a LeRobotDataset's metadata and batches: right keys, shapes and dtypes, no files.

Shapes follow `lerobot/datasets`: RGB frames from video arrive as uint8 (from 0.6.0 on, where the training
factory asks for `return_uint8=True`; before, as float32), every other entry in its own dtype; index columns
travel with each batch. Which columns come as several time steps is what lerobot itself makes of the policy's
config.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from actprof.cell import Cell
from actprof.policies import policy_spec
from actprof.policies.lerobot_versions import frames_come_as_bytes

_FRAMES_PER_SECOND = 30
_IMAGE_NAMES = ["height", "width", "channels"]
_REWARD = "next.reward"
# Where nobody says how long tasks are: "Pick up the cube and put it into the box."
ASSUMED_TASK_TOKENS = 11
_ROBOT = "so101_follower"
_STATISTICS = ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
_INDEX_DTYPES = {
    "timestamp": torch.float32,
    "frame_index": torch.int64,
    "episode_index": torch.int64,
    "index": torch.int64,
    "task_index": torch.int64,
}


def camera_keys(cell: Cell) -> list[str]:
    """Return the dataset keys of the cell's cameras."""
    return [f"observation.images.camera{index}" for index in range(cell.cameras)]


def dataset_meta(cell: Cell, *, rewards: bool = False) -> SimpleNamespace:
    """Return what lerobot reads of a dataset: `features`, `stats`, and what it is of.

    Statistics have the shapes that `lerobot/datasets/compute_stats.py` gives them; images (3, 1, 1). With
    `rewards` the dataset has a column of them.
    """
    features: dict[str, dict[str, Any]] = {
        key: {"dtype": "video", "shape": (height, width, 3), "names": _IMAGE_NAMES}
        for key, (width, height) in zip(camera_keys(cell), cell.frame_sizes, strict=True)
    }
    for name, length in (("state", cell.state_dim), ("environment_state", cell.environment_dim)):
        if length:
            features[f"observation.{name}"] = _vector(length)
    features["action"] = _vector(cell.action_dim)
    if rewards:
        features[_REWARD] = {"dtype": "float32", "shape": (1,), "names": None}
    features |= {
        key: {"dtype": str(dtype).removeprefix("torch."), "shape": (1,), "names": None}
        for key, dtype in _INDEX_DTYPES.items()
    }
    stats = {
        key: _statistics((3, 1, 1) if feature["dtype"] == "video" else feature["shape"])
        for key, feature in features.items()
    }
    return SimpleNamespace(
        features=features,
        stats=stats,
        fps=_FRAMES_PER_SECOND,
        names={key: feature["names"] for key, feature in features.items()},
        camera_keys=camera_keys(cell),
        robot_type=_ROBOT,
        total_episodes=1,
        total_tasks=1,
    )


def _vector(length: int) -> dict[str, Any]:
    names = [f"joint_{index}.pos" for index in range(length)]
    return {"dtype": "float32", "shape": (length,), "names": names}


def asks_for_rewards(config: Any) -> bool:
    """Tell whether the policy of a lerobot config learns from rewards."""
    return config.reward_delta_indices is not None


def _statistics(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    values = {name: torch.ones(shape) for name in _STATISTICS}
    return {**values, "count": torch.ones(1)}


def batches(cell: Cell, config: Any, device: torch.device) -> Iterator[dict[str, Any]]:
    """Return training batches on `device` without end, as lerobot's training loop receives them.

    Accelerate's own `DataLoaderShard` hands them out, because what it keeps alive counts: while a step
    runs, it still holds the batch that it delivered, beside the normalised copy.
    """
    from accelerate.data_loader import DataLoaderShard

    try:
        from lerobot.utils.utils import cycle
    except ImportError:  # until 0.5.1
        from lerobot.datasets.utils import cycle

    def copy(value: Any) -> Any:
        return value.clone() if isinstance(value, torch.Tensor) else value

    class Batches(torch.utils.data.IterableDataset[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            template = _host_batch(cell, config)
            while True:
                yield {key: copy(value) for key, value in template.items()}

    # lerobot pins host memory for a GPU; a GPU that is only pretended has none to pin.
    pinned = device.type == "cuda" and torch.cuda.is_available()
    loader = DataLoaderShard(Batches(), device=device, batch_size=None, pin_memory=pinned)
    # Handed on as it is: a generator of our own would keep one more batch alive.
    return cycle(loader)  # type: ignore[no-any-return]


def _host_batch(cell: Cell, config: Any) -> dict[str, Any]:
    """Return one collated batch as `lerobot/datasets/dataset_reader.py` reads its items.

    A column of T time steps is (B, T, …) and comes with a mask (B, T); frames of video lose a T of one.
    """
    from lerobot.datasets.factory import resolve_delta_timestamps

    meta = dataset_meta(cell, rewards=asks_for_rewards(config))
    windows = resolve_delta_timestamps(config, meta) or {}
    batch: dict[str, Any] = {}
    for key, feature in meta.features.items():
        steps = (len(windows[key]),) if key in windows else ()
        batch[key] = _column(cell.batch_size, key, feature, steps)
        if steps:
            batch[f"{key}_is_pad"] = torch.zeros(cell.batch_size, *steps, dtype=torch.bool)
    if policy_spec(cell.policy).reads_task:
        # A word is a token to the stand-ins for tokenizers.
        batch["task"] = [" ".join(["move"] * (cell.task_tokens or ASSUMED_TASK_TOKENS))] * cell.batch_size
    return batch


def _column(size: int, key: str, feature: dict[str, Any], steps: tuple[int, ...]) -> torch.Tensor:
    # Noise, not zeros: arithmetic on zeros takes less power, so that a GPU would be timed too fast.
    if feature["dtype"] == "video":
        height, width, channels = feature["shape"]
        frames = () if steps == (1,) else steps
        bytes_ = torch.randint(0, 256, (size, *frames, channels, height, width), dtype=torch.uint8)
        return bytes_ if frames_come_as_bytes() else bytes_ / 255
    if key in _INDEX_DTYPES:
        return torch.zeros(size, dtype=_INDEX_DTYPES[key])
    # A column of one figure is read as a scalar.
    return torch.randn(size, *steps, *(() if key == _REWARD else feature["shape"]))
