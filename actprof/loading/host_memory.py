"""What a training run takes of its machine's own memory: a formula of few terms, and where each comes from.

    all       = processes * (main + loaders * workers * (worker + decoders + batch) + /dev/shm)
    /dev/shm  = loaders * (workers * prefetch_factor + 1) * batch + statistics

A DataLoader lets each worker work `prefetch_factor` batches ahead, in shared memory, beside the one in hand.
There each column of a batch is a file of whole pages, so that this term is exact. Where batches are pinned,
as for a GPU, what is ready moves from /dev/shm into pinned memory of the main process; the sum stays.
A worker started anew (`spawn`, `forkserver`) imports everything again, a forked one shares it with the main
process until one of them writes there. Each worker has the samples of one batch of its own while it puts them
together. The processes' own memory is mostly imports: measured with torch 2.11's CUDA build, Python 3.12 and
lerobot 0.6.1 on Linux (`python benchmarks/host_memory.py`), and other builds differ.

Not counted: CUDA's own memory on the host, a checkpoint while it is written, and the page cache of videos and
tables, which the kernel takes back.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from actprof.policies.lerobot_versions import bounds_decoders, frames_come_as_bytes
from actprof.units import MIB, ceil_div

SPAWN, FORK = "spawn", "fork"
DEFAULT_DECODERS = 100  # `DEFAULT_DECODER_CACHE_SIZE` in lerobot/datasets/video_utils.py
DECODERS_VARIABLE = "LEROBOT_VIDEO_DECODER_CACHE_SIZE"
# An open decoder of torchcodec: 1.9 MiB for AV1 of 640x480; 4.2 MB in lerobot's pull request 3614.
DECODER_BYTES = 4_200_000
# Mean and deviation of each camera, as tensors, where lerobot takes those of ImageNet (`use_imagenet_stats`).
STATISTICS = 2
# What a process holds that has imported lerobot's datasets, or lerobot_train; and what more with a library.
_DATASET = {"": 427 * MIB, "transformers": 45 * MIB}
_TRAINING = {"": 448 * MIB, "transformers": 58 * MIB, "diffusers": 23 * MIB}
LIBRARIES = ("transformers", "diffusers")
_DECODING = 30 * MIB  # in a worker that started anew: 10 to 45
_STORED = 200 * MIB  # more where images are read from tables, at 640x480
_FORKED = 60 * MIB  # of a forked worker's own: 35 to 120; a full garbage collection copies 150 more
_LOADING_ITSELF, _BATCHES_ITSELF = 52 * MIB, 3  # of a main process without workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How a run loads its data.

    Attributes:
        columns: bytes of one sample in each column of a batch.
        start_method: of the workers, by Python's name; empty: Python's own choice.
        decoders: open at most in each process that loads.
        statistics: small tensors of the dataset that workers started anew share with the main process.
        stored_images: frames are images in the dataset's tables, which workers read rows of.
        loaders: DataLoaders of each process; two where held-out episodes are evaluated.
        processes: that train on the machine.
        loads_itself: the main process loads batches, or has done so, as it does without workers.
        trains: lerobot_train loads, not `actprof loader`, whose workers import less.
    """

    batch_size: int
    columns: tuple[int, ...]
    workers: int
    prefetch_factor: int
    start_method: str = ""
    decoders: int = 0
    statistics: int = 0
    stored_images: bool = False
    loaders: int = 1
    processes: int = 1
    loads_itself: bool = False
    trains: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """What the formula says, in bytes.

    Attributes:
        main_bytes: of one process that trains, without its decoders.
        worker_bytes: of one worker's own, without its decoders.
        decoders_bytes: in each process that loads, at most.
        batch_bytes: of one batch in whole pages.
        workers: of one process, of all its loaders.
        shm_bytes: of /dev/shm for one process.
        processes: on the machine.
        start_method: of the workers.
    """

    main_bytes: int
    worker_bytes: int = 0
    decoders_bytes: int = 0
    batch_bytes: int = 0
    workers: int = 0
    shm_bytes: int = 0
    processes: int = 1
    start_method: str = ""

    @property
    def workers_bytes(self) -> int:
        """All workers of one process, with their decoders and the samples of the batch in the making."""
        return self.workers * (self.worker_bytes + self.decoders_bytes + self.batch_bytes)

    @property
    def all_shm_bytes(self) -> int:
        """What all processes hold in /dev/shm."""
        return self.processes * self.shm_bytes

    @property
    def total_bytes(self) -> int:
        """What all processes hold, /dev/shm included."""
        main = self.main_bytes + (0 if self.workers else self.decoders_bytes)
        return self.processes * (main + self.workers_bytes + self.shm_bytes)


def host_memory(loading: Loading, libraries: Collection[str]) -> HostMemory:
    """Return what a run that loads like this takes of its machine's memory.

    Args:
        loading: how it loads.
        libraries: those of `LIBRARIES` that are installed where it runs, as lerobot imports them then.
    """
    method = loading.start_method or default_start_method()
    batch = batch_bytes(loading.columns, loading.batch_size)
    main, some = _imports(_TRAINING, libraries), loading.workers > 0
    if loading.loads_itself or not some:
        main += _LOADING_ITSELF + _BATCHES_ITSELF * batch
    anew = _imports(_TRAINING if loading.trains else _DATASET, libraries) + _DECODING
    stored = _STORED if loading.stored_images else 0
    ahead = loading.loaders * (loading.workers * loading.prefetch_factor + 1) * batch
    shared = loading.statistics * mmap.PAGESIZE if method != FORK else 0
    return HostMemory(
        main_bytes=main,
        worker_bytes=((_FORKED if method == FORK else anew) + stored) if some else 0,
        decoders_bytes=loading.decoders * DECODER_BYTES,
        batch_bytes=batch,
        workers=loading.loaders * loading.workers,
        shm_bytes=ahead + shared if some else 0,
        processes=loading.processes,
        start_method=method if some else "",
    )


def _imports(program: Mapping[str, int], libraries: Collection[str]) -> int:
    return sum(size for name, size in program.items() if not name or name in libraries)


def default_start_method() -> str:
    """Return how Python starts processes where nobody says: the first that it names."""
    return multiprocessing.get_all_start_methods()[0]


def batch_bytes(columns: Collection[int], batch_size: int) -> int:
    """Return the bytes of a batch whose samples have so many in each column: whole pages for each."""
    return sum(ceil_div(size * batch_size, mmap.PAGESIZE) * mmap.PAGESIZE for size in columns)


def sample_columns(
    features: Mapping[str, Mapping[str, Any]],
    windows: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[int, ...]:
    """Return the bytes of one sample in each column of a batch, as lerobot's dataset hands them out.

    RGB video comes as bytes from lerobot 0.6.0 on, stored images and depth as float32; Python's numbers
    become float32 and int64 (`get_item` in lerobot/datasets/dataset_reader.py). Texts are no tensors.

    Args:
        features: of the dataset's `meta/info.json`.
        windows: time steps of each column that the policy reads more of than one moment, one step included:
            such a column has a mask.
        sizes: (width, height) of cameras after image transforms; as stored where left out.
    """
    found = []
    for key, feature in features.items():
        each = _numbers(key, feature, sizes or {}) * _item_bytes(feature)
        if each:
            found.append(each * windows.get(key, 1))
            found += [windows[key]] if key in windows else []
    return tuple(found)


def _numbers(key: str, feature: Mapping[str, Any], sizes: Mapping[str, tuple[int, int]]) -> int:
    shape: Sequence[int] = feature.get("shape") or ()
    if key in sizes and _is_camera(feature):
        return min(shape) * prod(sizes[key])
    return prod(shape)


def _is_camera(feature: Mapping[str, Any]) -> bool:
    return feature.get("dtype") in ("video", "image")


def _item_bytes(feature: Mapping[str, Any]) -> int:
    kind, info = str(feature.get("dtype")), feature.get("info")
    if _is_camera(feature):
        known = info if isinstance(info, Mapping) else {}
        is_depth = known.get("is_depth_map") or known.get("video.is_depth_map")
        return 1 if kind == "video" and frames_come_as_bytes() and not is_depth else 4
    if kind.startswith("float"):
        return 4
    if kind.startswith(("int", "uint")):
        return 8
    return 1 if kind.startswith("bool") else 0


def video_files(root: str | Path) -> list[Path]:
    """Return the files of videos in a dataset's folder."""
    return [path for path in (Path(root) / "videos").rglob("*") if path.is_file()]


def cached_decoders(files: int, environment: Mapping[str, str]) -> int:
    """Return how many decoders each process that loads keeps open, of so many video files.

    Before lerobot 0.6.0 all of them, since then the 100 or `LEROBOT_VIDEO_DECODER_CACHE_SIZE` used last.
    """
    if not bounds_decoders():
        return files
    told = environment.get(DECODERS_VARIABLE, str(DEFAULT_DECODERS)).strip()
    return min(files, int(told)) if told.isdecimal() and int(told) else files
