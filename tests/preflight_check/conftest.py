"""One small real LeRobotDataset for all tests of the preflight: two cameras on video."""

from __future__ import annotations

import numpy as np
import pytest

from actprof.preflight_check.flag_table import flag_table

CAMERA = {"dtype": "video", "shape": (480, 640, 3), "names": ["height", "width", "channels"]}
JOINTS = {"dtype": "float32", "shape": (6,), "names": None}
FEATURES = {
    "observation.images.front": CAMERA,
    "observation.images.wrist": CAMERA,
    "observation.state": JOINTS,
    "action": JOINTS,
}
FRAMES = 4


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory):
    """Return the folder of a LeRobotDataset with two 640x480 cameras, six joints and four frames."""
    from actprof.quiet import quiet_imports

    root = tmp_path_factory.mktemp("data") / "so101"
    with quiet_imports():
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        dataset = LeRobotDataset.create("me/so101", fps=10, features=FEATURES, root=root, use_videos=True)
        for index in range(FRAMES):
            frame = np.full((480, 640, 3), 20 * index, dtype=np.uint8)
            joints = np.full(6, index, dtype=np.float32)
            dataset.add_frame(
                {
                    "observation.images.front": frame,
                    "observation.images.wrist": frame,
                    "observation.state": joints,
                    "action": joints,
                    "task": "pick",
                }
            )
        dataset.save_episode()
        dataset.finalize()
    return root


@pytest.fixture
def act_flags(_own_cache):
    """Have lerobot write down its flags, once for all tests."""
    return flag_table("act")


@pytest.fixture
def train(dataset_root):
    """Return a function that gives the words of a training command on the dataset."""

    def words(*more: str, policy: str = "act") -> list[str]:
        return [
            "lerobot-train",
            f"--policy.type={policy}",
            "--policy.push_to_hub=false",
            "--dataset.repo_id=me/so101",
            f"--dataset.root={dataset_root}",
            *more,
        ]

    return words
