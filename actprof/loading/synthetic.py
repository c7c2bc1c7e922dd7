"""A small real LeRobotDataset: cameras that see something move, written by lerobot's own recorder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.errors import StoreError
from actprof.files import cache_folder
from actprof.loading.rows import VIDEO
from actprof.processes.child import tell
from actprof.processes.worker import Conditions, call_alone
from actprof.progress import Listener, nobody
from actprof.versions import code_digest, package_version

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Frame = npt.NDArray[np.uint8]

REPO_ID = "actprof/synthetic"
FPS = 30
STATE_DIM = ACTION_DIM = 6
_REWARD = "next.reward"  # some policies learn from it
_TASK = "Pick up the cube and put it into the box."  # others read it
_COARSE = 16  # pixels of a patch of the texture
_NOISE = 2.0  # standard deviation of a camera's noise, of 255
_SHIFT = (2, 3)  # pixels by which the background moves from frame to frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """A dataset to write: width and height are what the cameras see, `storage` is `video` or `images`.

    Frames are resized to `recorded` (`WIDTHxHEIGHT`) before they are stored; empty: stored as seen. There
    are `frames` of them in each of the `episodes`.
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

    @property
    def stored_size(self) -> tuple[int, int]:
        """Return width and height of the frames as stored."""
        width, height = map(int, (self.recorded or f"{self.width}x{self.height}").split("x"))
        return width, height


def datasets_folder() -> Path:
    """Return the folder of synthetic datasets, beside the cache of traces."""
    return cache_folder() / "datasets"


def synthetic_dataset(what: Synthetic, *, listener: Listener = nobody) -> Path:
    """Return the folder of a synthetic dataset; it is written, in a process, if it is not there yet.

    Raises:
        StoreError: the folder cannot be written.
        WorkerError: lerobot could not write it.
    """
    made_by = f"{package_version('lerobot')}-{code_digest('loading/synthetic.py')[:8]}"
    target = datasets_folder() / f"{what.name}-{made_by}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unfinished-") as temporary:
            place = Path(temporary) / "dataset"
            conditions = Conditions(environment=quiet_environment(), listener=listener)
            call_alone(conditions, write_dataset, what, str(place))
            with suppress(FileExistsError):  # somebody else was faster
                place.rename(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror or error})") from error
    return target


def quiet_environment() -> dict[str, str]:
    """Return variables for processes that read only synthetic datasets: no network, and no other cache."""
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(datasets_folder() / "arrow"),
        "HF_LEROBOT_HOME": str(datasets_folder() / "lerobot"),
        "SVT_LOG": "1",
    }


def write_dataset(what: Synthetic, root: str) -> None:
    """Write the dataset with lerobot's recorder to `root`, a folder that does not exist yet."""
    tell("importing lerobot")
    import numpy as np

    from actprof.quiet import quiet_imports

    width, height = what.stored_size
    keys = [f"observation.images.camera{index}" for index in range(what.cameras)]
    with quiet_imports():
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        dataset = LeRobotDataset.create(
            REPO_ID, fps=FPS, features=_features(keys, width, height, what.storage), root=root,
            use_videos=what.storage == VIDEO, image_writer_threads=os.cpu_count() or 1, video_backend="pyav",
        )  # fmt: skip
        for episode in range(what.episodes):
            tell(f"writing {what.storage} {width}x{height}, episode {episode + 1}")
            views = [draw_frames(what, seed=episode * what.cameras + index) for index in range(len(keys))]
            for index, frames in enumerate(zip(*views, strict=True)):
                state = np.full(STATE_DIM, index / what.frames, dtype=np.float32)
                images = {
                    key: _resized(frame, width, height) for key, frame in zip(keys, frames, strict=True)
                }
                row = {"observation.state": state, "action": state, _REWARD: state[:1], "task": _TASK}
                dataset.add_frame({**images, **row})
            dataset.save_episode()
        dataset.finalize()


def _features(keys: list[str], width: int, height: int, storage: str) -> dict[str, Any]:
    image = {
        "dtype": "video" if storage == VIDEO else "image",
        "shape": (height, width, 3),
        "names": ["height", "width", "channels"],
    }
    vectors = {"observation.state": STATE_DIM, "action": ACTION_DIM, _REWARD: 1}
    return {
        **dict.fromkeys(keys, image),
        **{key: {"dtype": "float32", "shape": (size,), "names": None} for key, size in vectors.items()},
    }


def draw_frames(what: Synthetic, *, seed: int) -> Iterator[Frame]:
    """Yield RGB frames (height, width, 3): a textured background that moves, a disc before it, and noise."""
    import numpy as np

    random = np.random.default_rng(seed)
    background = _texture(random, what.width, what.height)
    rows, columns = np.mgrid[0 : what.height, 0 : what.width]
    radius = what.height / 6
    for index in range(what.frames):
        frame = np.roll(background, (index * _SHIFT[0], index * _SHIFT[1]), axis=(0, 1)).astype(np.float32)
        across = (seed * 50 + index * 7) % what.width
        down = what.height * (0.5 + 0.25 * np.sin(index / 7))
        frame[(columns - across) ** 2 + (rows - down) ** 2 < radius**2] = (220, 60, 40)
        frame += random.normal(0, _NOISE, frame.shape).astype(np.float32)
        yield np.clip(frame, 0, 255).astype(np.uint8)


def _texture(random: np.random.Generator, width: int, height: int) -> Frame:
    """Return patches of random colours, smoothed, with grain: plain surfaces and soft edges."""
    import numpy as np
    from PIL import Image

    coarse = random.integers(30, 226, (height // _COARSE + 2, width // _COARSE + 2, 3), dtype=np.uint8)
    fine = random.integers(-12, 13, (height, width, 1))
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(smooth.astype(np.int16) + fine, 0, 255).astype(np.uint8)


def _resized(frame: Frame, width: int, height: int) -> Frame:
    import numpy as np
    from PIL import Image

    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
