"""What to measure of data loading: the question, and the sources and loaders that answer it."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actprof.errors import UsageError
from actprof.loading.rows import COLD, IMAGES, PYAV, TORCHCODEC, VIDEO, WARM, Source
from actprof.loading.synthetic import REPO_ID, Synthetic
from actprof.policies import policy_spec

DEFAULT_SECONDS = 3.0
BACKENDS = (PYAV, TORCHCODEC)
_SIZE = re.compile(r"[1-9]\d*x[1-9]\d*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderQuestion:
    """What to measure.

    Attributes:
        synthetic: (cameras, width, height) of a dataset to write; or None, then
        repo_id, root: name a LeRobotDataset.
        batch_sizes: of the loaders.
        workers: numbers of DataLoader workers; empty: 0, 1, 2, 4 … up to the cores for the first source, 0
            and the most for other video at the stored size, 0 elsewhere.
        backends: of video.
        storages: of a synthetic dataset.
        resize: `WIDTHxHEIGHT` of the loader, and of a second synthetic dataset as recorded; or empty.
        policy, overrides: lerobot's name of the policy and fields of its config, which decide how many
            frames, states and actions a sample has.
        prefetch_factor: batches that each worker works ahead; None is lerobot's.
        start_method: of the workers, by Python's name; empty is lerobot's.
        seconds: to time each loader for.
        timeout: seconds for one source; None: enough.
    """

    synthetic: tuple[int, int, int] | None = None
    repo_id: str = ""
    root: str = ""
    batch_sizes: tuple[int, ...] = (8,)
    workers: tuple[int, ...] = ()
    backends: tuple[str, ...] = BACKENDS
    storages: tuple[str, ...] = (VIDEO, IMAGES)
    resize: str = ""
    policy: str = "act"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    prefetch_factor: int | None = None
    start_method: str = ""
    seconds: float = DEFAULT_SECONDS
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if (self.synthetic is None) == (not self.repo_id):
            raise UsageError("name a dataset (--repo-id) or ask for a synthetic one (--synthetic), not both")
        unknown = [name for name in self.backends if name not in BACKENDS]
        if unknown or not self.backends:
            raise UsageError(f"backend {', '.join(unknown) or 'none'}: there are {' and '.join(BACKENDS)}")
        if not self.storages or set(self.storages) - {VIDEO, IMAGES}:
            raise UsageError(f"storage {', '.join(self.storages) or 'none'}: there are {VIDEO} and {IMAGES}")
        if not self.batch_sizes or min(self.batch_sizes) < 1 or min(self.workers, default=0) < 0:
            raise UsageError("batch sizes must be 1 or more, workers 0 or more")
        if self.resize and not _SIZE.fullmatch(self.resize):
            raise UsageError(f"resize {self.resize!r} is not WIDTHxHEIGHT, like 224x224")
        if self.prefetch_factor is not None and self.prefetch_factor < 1:
            raise UsageError(f"a prefetch factor of {self.prefetch_factor}: it must be 1 or more")
        if self.start_method and self.start_method not in multiprocessing.get_all_start_methods():
            there = ", ".join(multiprocessing.get_all_start_methods())
            raise UsageError(f"no processes are started by {self.start_method!r} here; there are {there}")
        if self.seconds <= 0:
            raise UsageError(f"{self.seconds} s a loader: it must be above zero")
        policy_spec(self.policy)

    @property
    def name(self) -> str:
        """Return the dataset, or `synthetic 2x640x480`."""
        if self.synthetic is None:
            return self.repo_id
        return "synthetic " + "x".join(map(str, self.synthetic))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One DataLoader: batch size, workers, and whether files are dropped from the cache before each batch."""

    batch_size: int
    workers: int
    cache: str = WARM


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """Measure one source with several loaders, one after another, each for `seconds`; see `LoaderQuestion`.

    Without a root the dataset is looked for as lerobot does; a `synthetic` one, which is to be written
    first, has none until then. `backend` is empty where frames are images.
    """

    repo_id: str
    root: str = ""
    backend: str = ""
    resize: str = ""
    policy: str = "act"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    prefetch_factor: int | None = None
    start_method: str = ""
    loads: tuple[Load, ...]
    seconds: float = DEFAULT_SECONDS
    synthetic: Synthetic | None = None

    def source(self) -> Source:
        """Return what is known of it before it is measured."""
        what = self.synthetic
        width, height = what.stored_size if what else (0, 0)
        return Source(
            storage=what.storage if what else VIDEO, width=width, height=height,
            backend=self.backend, resize=self.resize,
        )  # fmt: skip


def plan(question: LoaderQuestion, *, cores: int) -> list[SourceRequest]:
    """Return the sources to measure, what a run does today first."""
    found: list[SourceRequest] = []
    for storage, backend, resize, recorded in _kinds(question):
        is_main = storage == VIDEO and not resize + recorded
        what = None
        if question.synthetic is not None:
            cameras, width, height = question.synthetic
            what = Synthetic(cameras=cameras, width=width, height=height, storage=storage, recorded=recorded)
        request = SourceRequest(
            repo_id=question.repo_id or REPO_ID, root=question.root, backend=backend, resize=resize,
            policy=question.policy, overrides=question.overrides, seconds=question.seconds, synthetic=what,
            prefetch_factor=question.prefetch_factor, start_method=question.start_method,
            loads=_loads(question, cores, first=not found, is_main=is_main),
        )  # fmt: skip
        found.append(request)
    return found


def _kinds(question: LoaderQuestion) -> list[tuple[str, str, str, str]]:
    """Return (storage, backend, resize in the loader, size at record time) of each source."""
    is_synthetic = question.synthetic is not None
    stored = [(VIDEO, backend) for backend in question.backends] if VIDEO in question.storages else []
    if is_synthetic and IMAGES in question.storages:
        stored.append((IMAGES, ""))
    kinds = [(storage, backend, "", "") for storage, backend in stored]
    if question.resize and question.resize != _stored(question):
        kinds.append((*stored[0], question.resize, ""))
        kinds += [(storage, backend, "", question.resize) for storage, backend in stored if is_synthetic]
    return kinds


def _stored(question: LoaderQuestion) -> str:
    return "" if question.synthetic is None else "{1}x{2}".format(*question.synthetic)


def _loads(question: LoaderQuestion, cores: int, *, first: bool, is_main: bool) -> tuple[Load, ...]:
    workers = question.workers
    if not workers:
        powers = [2**power for power in range(cores.bit_length()) if 2**power < cores]
        workers = (0, *powers, cores) if first else (0, cores) if is_main else (0,)
    loads = [Load(batch_size=size, workers=count) for size in question.batch_sizes for count in workers]
    cold = [Load(batch_size=question.batch_sizes[0], workers=0, cache=COLD)] if first and 0 in workers else []
    return tuple(cold + loads)
