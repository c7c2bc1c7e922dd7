"""lerobot's own dataset and DataLoader, made as `lerobot_train` makes them; what it is, and its files."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.loading.host_memory import STATISTICS, Loading, cached_decoders, sample_columns, video_files
from actprof.loading.plan import Load, SourceRequest
from actprof.loading.rows import IMAGES, TORCHCODEC, VIDEO, DatasetFacts, Source
from actprof.policies import policy_spec
from actprof.policies.lerobot_versions import require_release


def make_config(request: SourceRequest, load: Load) -> Any:
    """Return lerobot's training config of the policy for this dataset and loader.

    Raises:
        UsageError: lerobot refuses the policy's config.
    """
    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.train import TrainPipelineConfig
    from lerobot.transforms import ImageTransformsConfig
    from lerobot.transforms.transforms import ImageTransformConfig

    from actprof.policies.workload import outside_answered, policy_config

    transforms = ImageTransformsConfig()
    if request.resize:
        width, height = map(int, request.resize.split("x"))
        resize = ImageTransformConfig(weight=1.0, type="Resize", kwargs={"size": (height, width)})
        transforms = ImageTransformsConfig(enable=True, max_num_transforms=1, tfs={"resize": resize})
    cell = Cell(policy=request.policy, overrides=request.overrides)
    with outside_answered(cell, policy_spec(cell.policy)):
        policy = policy_config(cell)
    return TrainPipelineConfig(
        dataset=DatasetConfig(
            repo_id=request.repo_id, root=request.root or None, image_transforms=transforms,
            video_backend=request.backend or "pyav",
        ),
        policy=policy,
        batch_size=load.batch_size, num_workers=load.workers, **_asked(request),
    )  # fmt: skip


def _asked(request: SourceRequest) -> dict[str, Any]:
    """Return what the request says of the DataLoader beside lerobot's own settings."""
    asked: dict[str, Any] = {}
    if request.prefetch_factor is not None:
        asked["prefetch_factor"] = request.prefetch_factor
    if request.start_method:
        require_release("0.6.1", "how workers are started")
        asked["dataloader_multiprocessing_context"] = request.start_method
    return asked


def open_dataset(config: Any) -> Any:
    """Return the dataset that lerobot's `make_dataset` makes.

    Raises:
        UsageError: lerobot does not find or understand it.
    """
    from lerobot.datasets.factory import make_dataset

    try:
        return make_dataset(config)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        where = config.dataset.root or "lerobot's cache and the Hub"
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"lerobot cannot open {config.dataset.repo_id} in {where}: {said[0]}") from error


def make_loader(dataset: Any, config: Any) -> Any:
    """Return the DataLoader that `lerobot_train` makes, but for a sampler that never comes to an end.

    The end of an epoch drains the workers; a small dataset would show little else.
    """
    import torch
    from lerobot.datasets import EpisodeAwareSampler
    from lerobot.utils.collate import lerobot_collate_fn

    sampler = EpisodeAwareSampler(
        dataset.meta.episodes["dataset_from_index"],
        dataset.meta.episodes["dataset_to_index"],
        episode_indices_to_use=dataset.episodes,
        drop_n_last_frames=getattr(config.policy, "drop_n_last_frames", 0),
        shuffle=True,
        seed=config.seed if config.seed is not None else 0,
        absolute_to_relative_idx=dataset.absolute_to_relative_idx,
    )
    return torch.utils.data.DataLoader(
        dataset,
        num_workers=config.num_workers,
        batch_size=config.batch_size,
        shuffle=False,
        sampler=Endless(sampler),
        pin_memory=torch.cuda.is_available(),
        drop_last=False,
        collate_fn=lerobot_collate_fn if dataset.meta.has_language_columns else None,
        **worker_arguments(config),
    )


def worker_arguments(config: Any) -> dict[str, Any]:
    """Return what `lerobot_train._dataloader_worker_kwargs` returns, without ten seconds of imports."""
    some = config.num_workers > 0
    return {
        "prefetch_factor": config.prefetch_factor if some else None,
        "persistent_workers": config.persistent_workers and some,
        "multiprocessing_context": start_method(config) if some else None,
    }


def start_method(config: Any) -> str | None:
    """Return how workers are started; None, as before 0.6.1, is Python's own way."""
    method: str | None = getattr(config, "dataloader_multiprocessing_context", None)
    return method


class Endless:
    """A sampler that begins its next epoch at once."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[int]:
        """Yield indices for ever."""
        while True:
            yield from self._sampler

    def __len__(self) -> int:
        """Return the length of an epoch."""
        return len(self._sampler)


def query_of_numbers(reader: Any, cameras: list[str]) -> Callable[[dict[str, list[int]]], dict[str, Any]]:
    """Return a `_query_hf_dataset` that decodes only images that are asked for.

    lerobot's own goes through a transform that is handed all columns of all rows of a window.
    """
    import torch

    stored = reader.hf_dataset
    numbers = stored.select_columns([key for key in stored.column_names if key not in cameras])
    images = {key: stored.select_columns([key]) for key in cameras if key in stored.column_names}
    place = reader._absolute_to_relative_idx

    def query(indices: dict[str, list[int]]) -> dict[str, Any]:
        chosen = {
            key: rows if place is None else [place[row] for row in rows] for key, rows in indices.items()
        }
        return {key: torch.stack(images.get(key, numbers)[rows][key]) for key, rows in chosen.items()}

    return query


def describe(dataset: Any, request: SourceRequest) -> tuple[Source, DatasetFacts]:
    """Return how the dataset's frames are stored, of its first camera.

    Raises:
        UsageError: it has no cameras.
    """
    keys = [key for key in dataset.meta.camera_keys if key not in dataset.meta.depth_keys]
    if not keys:
        raise UsageError(f"{request.repo_id} has no cameras; there is nothing to load but numbers")
    feature = dataset.meta.features[keys[0]]
    by_name = dict(zip(feature["names"], feature["shape"], strict=True))
    height, width = by_name["height"], by_name["width"]
    storage = VIDEO if keys[0] in dataset.meta.video_keys else IMAGES
    source = Source(
        storage=storage, width=width, height=height, resize=request.resize,
        backend=request.backend if storage == VIDEO else "",
    )  # fmt: skip
    info = feature.get("info") or {}
    parts = (info.get("video.codec"), info.get("video.pix_fmt"), _say_gop(info.get("video.g")))
    below = Path(dataset.root) / ("videos" if storage == VIDEO else "data")
    size = sum(path.stat().st_size for path in below.rglob("*") if path.is_file())
    facts = DatasetFacts(
        storage=storage, width=width, height=height, cameras=len(keys), frames=dataset.meta.total_frames,
        episodes=dataset.meta.total_episodes, fps=dataset.meta.fps,
        codec=", ".join(str(part) for part in parts if part) if storage == VIDEO else "",
        frame_bytes=size // max(dataset.meta.total_frames * len(keys), 1),
    )  # fmt: skip
    return source, facts


def windows(config: Any, dataset: Any) -> dict[str, int]:
    """Return how many time steps of a column the policy reads, of those it reads more of than one moment."""
    from lerobot.datasets.factory import resolve_delta_timestamps

    found = resolve_delta_timestamps(config.policy, dataset.meta) or {}
    return {key: len(times) for key, times in found.items()}


def loading_of(config: Any, dataset: Any, *, loads_itself: bool) -> Loading:
    """Return what the host's memory depends on when this DataLoader loads the dataset."""
    transforms, cameras = config.dataset.image_transforms, dataset.meta.camera_keys
    sizes = dict.fromkeys(cameras, transforms.tfs["resize"].kwargs["size"]) if transforms.enable else {}
    decodes = config.dataset.video_backend == TORCHCODEC
    return Loading(
        batch_size=config.batch_size,
        columns=sample_columns(dataset.meta.features, windows(config, dataset), sizes),
        workers=config.num_workers,
        prefetch_factor=config.prefetch_factor,
        start_method=start_method(config) or "",
        decoders=cached_decoders(len(video_files(dataset.root)), os.environ) if decodes else 0,
        statistics=STATISTICS * len(cameras) if config.dataset.use_imagenet_stats else 0,
        stored_images=bool(dataset.meta.image_keys),
        loads_itself=loads_itself,
        trains=False,
    )


def dataset_files(dataset: Any) -> list[Path]:
    """Return the files that samples are read from: videos, and the tables as `datasets` keeps them."""
    return video_files(dataset.root) + [Path(entry["filename"]) for entry in dataset.hf_dataset.cache_files]


def drop_cached(paths: Iterable[Path]) -> float | None:
    """Ask the kernel to forget these files; return the share of their pages that it kept, or None.

    It keeps what another process has mapped, and some file systems keep everything. None means that it
    cannot be asked or looked at on this system.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    kept = pages = 0
    for path in paths:
        with suppress(OSError), path.open("rb") as file:
            os.fsync(file.fileno())  # pages that are not written yet are never dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            found = _cached_pages(file.fileno())
            if found is None:
                return None
            kept, pages = kept + found[0], pages + found[1]
    return kept / pages if pages else None


def _cached_pages(descriptor: int) -> tuple[int, int] | None:
    """Return (pages in the cache, pages) of an open file, by mincore(2); None where that is not to be had."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0, 0
    pages = -(-size // mmap.PAGESIZE)
    seen = (ctypes.c_ubyte * pages)()
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        try:
            mincore = ctypes.CDLL(None, use_errno=True).mincore
            failed = mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), seen)
        except (AttributeError, OSError):
            return None
        finally:
            del start  # or the mapping cannot be closed
    return None if failed else (sum(page & 1 for page in seen), pages)


def _say_gop(frames: int | None) -> str:
    return f"a key frame every {frames}" if frames else ""
