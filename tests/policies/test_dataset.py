"""Batches look like those of a LeRobotDataset, and live as long as accelerate's loader lets them."""

import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from actprof.policies.dataset import batches, camera_keys, dataset_meta

CONFIG = SimpleNamespace(
    action_delta_indices=range(10), observation_delta_indices=None, reward_delta_indices=None
)
CPU = torch.device("cpu")


def test_a_batch_has_the_keys_shapes_and_dtypes_of_lerobots(small_cell):
    """Frames from video are uint8 and channels first; index columns travel along."""
    batch = next(batches(small_cell, CONFIG, CPU))
    expected = {
        "observation.images.camera0": (torch.uint8, (2, 3, 64, 64)),
        "observation.images.camera1": (torch.uint8, (2, 3, 64, 64)),
        "observation.state": (torch.float32, (2, 6)),
        "action": (torch.float32, (2, 10, 6)),
        "action_is_pad": (torch.bool, (2, 10)),
        "timestamp": (torch.float32, (2,)),
        "frame_index": (torch.int64, (2,)),
        "episode_index": (torch.int64, (2,)),
        "index": (torch.int64, (2,)),
        "task_index": (torch.int64, (2,)),
    }
    assert expected == {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()}


def test_height_comes_before_width(small_cell):
    """A resolution says WIDTHxHEIGHT, an image tensor (channels, height, width)."""
    cell = replace(small_cell, resolution="96x64")
    assert (2, 3, 64, 96) == tuple(next(batches(cell, CONFIG, CPU))["observation.images.camera0"].shape)
    assert (64, 96, 3) == dataset_meta(cell).features["observation.images.camera0"]["shape"]


def test_a_robot_without_a_state_has_none_in_its_batches(small_cell):
    """Nor in the dataset's features and statistics."""
    cell = replace(small_cell, state_dim=0, cameras=3)
    meta = dataset_meta(cell)
    for keys in (next(batches(cell, CONFIG, CPU)), meta.features, meta.stats):
        assert "observation.state" not in keys
        assert set(camera_keys(cell)) < set(keys)
    assert len(camera_keys(cell)) == 3


def test_cameras_may_differ_in_size(small_cell):
    """In features and batches, each with its own; statistics are for each channel."""
    cell = replace(small_cell, cameras=["96x64", "64x48"], resolution="640x480")
    batch, meta = next(batches(cell, CONFIG, CPU)), dataset_meta(cell)
    for key, (height, width) in zip(camera_keys(cell), [(64, 96), (48, 64)], strict=True):
        assert (2, 3, height, width) == tuple(batch[key].shape)
        assert (height, width, 3) == meta.features[key]["shape"]
        assert (3, 1, 1) == tuple(meta.stats[key]["mean"].shape)


def test_without_cameras_there_is_the_state_of_the_environment(small_cell):
    """A column like any other."""
    cell = replace(small_cell, cameras=0, environment_dim=5)
    batch, meta = next(batches(cell, CONFIG, CPU)), dataset_meta(cell)
    assert (2, 5) == tuple(batch["observation.environment_state"].shape)
    assert not [key for keys in (batch, meta.features, meta.stats) for key in keys if "images" in key]
    assert "observation.environment_state" not in dataset_meta(small_cell).features


def test_statistics_have_the_shapes_that_lerobot_computes(small_cell):
    """Per channel for images, per dimension for vectors; every feature has them."""
    meta = dataset_meta(small_cell)
    assert set(meta.features) == set(meta.stats)
    assert (3, 1, 1) == tuple(meta.stats["observation.images.camera0"]["mean"].shape)
    assert (6,) == tuple(meta.stats["action"]["std"].shape)


def test_features_are_those_of_a_video_dataset(small_cell):
    """Lerobot tells images from other features by their dtype and names."""
    from lerobot.utils.feature_utils import dataset_to_policy_features

    features = dataset_to_policy_features(dataset_meta(small_cell).features)
    assert {"VISUAL", "STATE", "ACTION"} <= {feature.type.name for feature in features.values()}
    assert (3, 64, 64) == features["observation.images.camera1"].shape


def test_the_raw_batch_is_held_while_a_step_runs(small_cell):
    """The loader keeps what it delivered until it is asked for the next, and no longer."""
    stream = batches(small_cell, CONFIG, CPU)
    delivered = []
    for _ in range(3):
        batch = next(stream)
        delivered.append(weakref.ref(batch["action"].untyped_storage()))
        del batch
        assert delivered[-1]() is not None
        assert all(earlier() is None for earlier in delivered[:-1])


@pytest.mark.parametrize("steps", [3])
def test_batches_do_not_end(small_cell, steps):
    """Training loops over its data."""
    stream = batches(small_cell, CONFIG, CPU)
    assert len([next(stream) for _ in range(steps)]) == steps
