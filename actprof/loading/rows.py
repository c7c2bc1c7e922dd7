"""The results of `actprof loader`: one row per way of loading, and all of them with what they were taken on.

Plain frozen records that save to and load from JSON. Times are seconds; sizes are pixels or bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from actprof.errors import StoreError
from actprof.loading.host_memory import HostMemory
from actprof.loading.own_memory import OwnMemory
from actprof.measurement import Spread
from actprof.records import from_plain, to_plain

SCHEMA_VERSION = 1
VIDEO, IMAGES = "video", "images"
PYAV, TORCHCODEC = "pyav", "torchcodec"
WARM, COLD = "warm", "cold"
# Parts of one sample, in the order in which they happen; `collate` is a batch's, divided by its size.
STAGES = ("rows", "open", "seek", "decode", "convert", "transform", "collate", "rest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How frames are stored and read: everything of a way of loading but batch size and workers.

    Attributes:
        storage: `video` or `images`.
        width, height: of the stored frames, in pixels.
        backend: what decodes the video, `pyav` or `torchcodec`; empty for images.
        resize: `WIDTHxHEIGHT` that the loader makes of each frame; empty: as stored.
        actions_alone: actions (and states) were read without the images of their rows, as lerobot 0.6 does
            not.
    """

    storage: str
    width: int
    height: int
    backend: str = ""
    resize: str = ""
    actions_alone: bool = False

    @property
    def size(self) -> str:
        """Return the stored size as `WIDTHxHEIGHT`."""
        return f"{self.width}x{self.height}"

    @property
    def given_size(self) -> str:
        """Return the size that the policy gets."""
        return self.resize or self.size

    def __str__(self) -> str:
        """Return `video 640x480, pyav, resized to 224x224`."""
        more = [self.backend, self.resize and f"resized to {self.resize}"]
        more.append("actions read alone" if self.actions_alone else "")
        return ", ".join([f"{self.storage} {self.size}", *filter(None, more)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderRow:
    """One way of loading, and what it takes.

    Attributes:
        source: how frames are stored and read.
        batch_size: samples in a batch.
        workers: processes of the DataLoader; with 0 the training process loads.
        cache: `warm`, or `cold` where the files were dropped from the page cache before each batch.
        batch_seconds: from one batch to the next with nobody computing in between, over rounds in which
            every worker gives one batch; None where it could not be measured.
        cpu_seconds: processor time of all threads for one sample (only with 0 workers).
        batches: that were timed; 0 where one takes so long that its samples were timed alone.
        stages: seconds of one sample by part, cameras one after another (only with 0 workers, warm).
        frames_decoded: frames of all cameras that one sample decodes; None where it cannot be counted.
        cached_share: of the files' pages that were still cached after dropping them; None unless `cold`.
        memory, predicted_memory: of the host, as the processes held it and as the formula has it; None
            where it was not looked at.
        reason: why it could not be measured.
    """

    source: Source
    batch_size: int
    workers: int
    cache: str = WARM
    batch_seconds: Spread | None = None
    cpu_seconds: float | None = None
    batches: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    frames_decoded: float | None = None
    cached_share: float | None = None
    memory: OwnMemory | None = None
    predicted_memory: HostMemory | None = None
    reason: str = ""

    @property
    def sample_seconds(self) -> float | None:
        """Return the seconds per sample, or None."""
        return None if self.batch_seconds is None else self.batch_seconds.median / self.batch_size

    @property
    def samples_per_second(self) -> float | None:
        """Return how many samples a second are loaded, or None."""
        return 1 / self.sample_seconds if self.sample_seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What one storage (`video` or `images`) of the dataset is; width and height of a frame in pixels.

    `codec` is codec, pixel format and distance of key frames in words, empty for images; `frame_bytes` are
    those of the frames' files, per frame and camera.
    """

    storage: str
    width: int
    height: int
    cameras: int
    frames: int
    episodes: int
    fps: int
    codec: str = ""
    frame_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderResult:
    """All rows of one run, in the order in which they were measured, and what they were taken on.

    Attributes:
        name: the dataset, or `synthetic 2x640x480`.
        policy, overrides: whose config said what a sample is.
        chunk_size: actions in a sample.
        frames: of each camera in a sample.
        cores: that this process may use.
        torch_threads: of the process that loads; a DataLoader worker has one.
        settings: lerobot's other settings of the loader, in words.
        notes: what a reader must know to believe the rows.
    """

    name: str
    rows: tuple[LoaderRow, ...]
    datasets: tuple[DatasetFacts, ...] = ()
    policy: str = "act"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    chunk_size: int = 0
    frames: int = 1
    cores: int = 1
    torch_threads: int = 0
    settings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def sample_text(self) -> str:
        """Return `100 actions in a sample` or `16 actions, 2 frames of each camera in a sample`."""
        frames = f", {self.frames} frames of each camera" if self.frames > 1 else ""
        return f"{self.chunk_size} {'action' if self.chunk_size == 1 else 'actions'}{frames} in a sample"

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return the sources in their order, each once."""
        return tuple(dict.fromkeys(row.source for row in self.rows))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Return the batch sizes in ascending order."""
        return tuple(sorted({row.batch_size for row in self.rows}))

    def row(
        self, source: Source, *, workers: int = 0, batch_size: int | None = None, cache: str = WARM
    ) -> LoaderRow | None:
        """Return the row of a way of loading, by default of the smallest batch size, or None."""
        wanted = self.batch_sizes[0] if batch_size is None and self.rows else batch_size
        key = (source, workers, wanted, cache)
        found = (row for row in self.rows if (row.source, row.workers, row.batch_size, row.cache) == key)
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a result from `to_json`.

        Raises:
            StoreError: it was written by a newer actprof, or is something else.
        """
        version = data.get("schema_version", SCHEMA_VERSION)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise StoreError(f"loader results of schema {version!r} need a newer actprof")
        try:
            return from_plain(cls, data)
        except (TypeError, ValueError) as error:
            raise StoreError(f"these are no loader results ({error})") from error
