"""What is asked of the processes behind `actprof loader`, and what they answer. Plain records."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.loading.rows import WARM, DatasetFacts, LoaderRow, Source

DEFAULT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One DataLoader: batch size, workers, and whether files are dropped from the cache before each batch."""

    batch_size: int
    workers: int
    cache: str = WARM


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """Measure one source with several loaders, one after another.

    Attributes:
        repo_id, root: of the LeRobotDataset; without a root it is looked for as lerobot does.
        backend: lerobot's `video_backend`; empty where frames are images.
        resize: `WIDTHxHEIGHT` that the loader makes of each frame; empty: as stored.
        chunk_size: of the ACT config, which decides how many actions a sample has.
        loads: the loaders.
        seconds: to time each for.
    """

    repo_id: str
    root: str = ""
    backend: str = ""
    resize: str = ""
    chunk_size: int = 100
    loads: tuple[Load, ...]
    seconds: float = DEFAULT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswer:
    """What was found.

    Attributes:
        source: as the dataset's metadata describes it; None when it was refused.
        rows: one per load, in their order.
        facts: of the dataset.
        torch_threads: of the process.
        settings: lerobot's settings of the loader, in words.
        refused: why the backend cannot be used.
    """

    source: Source | None = None
    rows: tuple[LoaderRow, ...] = ()
    facts: DatasetFacts | None = None
    torch_threads: int = 0
    settings: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """A dataset to write.

    Attributes:
        cameras: how many.
        width, height: of the frames that the cameras see, in pixels.
        storage: `video` or `images`.
        recorded: `WIDTHxHEIGHT` to which frames are resized before they are stored; empty: as seen.
        episodes, frames: how many, and of how many frames each.
    """

    cameras: int
    width: int
    height: int
    storage: str
    recorded: str = ""
    episodes: int = 2
    frames: int = 60

    @property
    def name(self) -> str:
        """Return `video-2x640x480-to-224x224-2x60`."""
        to = f"-to-{self.recorded}" if self.recorded else ""
        length = f"{self.episodes}x{self.frames}"
        return f"{self.storage}-{self.cameras}x{self.width}x{self.height}{to}-{length}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """Write one dataset to `root`, a folder that does not exist yet."""

    what: Synthetic
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteAnswer:
    """Where it is."""

    root: str
