"""A stand-in for a LeRobotDataset's metadata and batches: right keys, shapes and dtypes, no files.

Shapes follow `lerobot/datasets`: RGB frames from video arrive as uint8 (the training factory asks for
`return_uint8=True`), every other entry in its own dtype; index columns travel with each batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from actprof.cell import Cell

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


def dataset_meta(cell: Cell) -> SimpleNamespace:
    """Return what `make_policy` and the pre-processor read of a dataset: `features` and `stats`.

    Statistics have the shapes that `lerobot/datasets/compute_stats.py` gives them; images (3, 1, 1).
    """
    features: dict[str, dict[str, Any]] = {
        key: {
            "dtype": "video",
            "shape": (cell.height, cell.width, 3),
            "names": ["height", "width", "channels"],
        }
        for key in camera_keys(cell)
    }
    if cell.state_dim:
        features["observation.state"] = {"dtype": "float32", "shape": (cell.state_dim,), "names": None}
    features["action"] = {"dtype": "float32", "shape": (cell.action_dim,), "names": None}
    features |= {
        key: {"dtype": str(dtype).removeprefix("torch."), "shape": (1,), "names": None}
        for key, dtype in _INDEX_DTYPES.items()
    }
    stats = {
        key: _statistics((3, 1, 1) if feature["dtype"] == "video" else feature["shape"])
        for key, feature in features.items()
    }
    return SimpleNamespace(features=features, stats=stats)


def _statistics(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    values = {name: torch.ones(shape) for name in _STATISTICS}
    return {**values, "count": torch.ones(1)}


def batches(cell: Cell, config: Any, device: torch.device) -> Iterator[dict[str, Any]]:
    """Return training batches on `device` without end, as lerobot's training loop receives them.

    Accelerate's own `DataLoaderShard` hands them out, because what it keeps alive counts: while a step
    runs, it still holds the batch that it delivered, beside the normalised copy.
    """
    from accelerate.data_loader import DataLoaderShard
    from lerobot.utils.utils import cycle

    class Batches(torch.utils.data.IterableDataset[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            template = _host_batch(cell, config)
            while True:
                yield {key: value.clone() for key, value in template.items()}

    # lerobot pins host memory for a GPU; a GPU that is only pretended has none to pin.
    pinned = device.type == "cuda" and torch.cuda.is_available()
    loader = DataLoaderShard(Batches(), device=device, batch_size=None, pin_memory=pinned)
    # Handed on as it is: a generator of our own would keep one more batch alive.
    stream: Iterator[dict[str, Any]] = cycle(loader)
    return stream


def _host_batch(cell: Cell, config: Any) -> dict[str, Any]:
    # Noise, not zeros: arithmetic on zeros takes less power, so that a GPU would be timed too fast.
    size = cell.batch_size
    pixels = (size, 3, cell.height, cell.width)
    batch: dict[str, Any] = {
        key: torch.randint(0, 256, pixels, dtype=torch.uint8) for key in camera_keys(cell)
    }
    if cell.state_dim:
        batch["observation.state"] = torch.randn(size, cell.state_dim)
    horizon = len(config.action_delta_indices)
    batch["action"] = torch.randn(size, horizon, cell.action_dim)
    batch["action_is_pad"] = torch.zeros(size, horizon, dtype=torch.bool)
    batch |= {key: torch.zeros(size, dtype=dtype) for key, dtype in _INDEX_DTYPES.items()}
    return batch
