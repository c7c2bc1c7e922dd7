"""What the cameras of a synthetic dataset see."""

from __future__ import annotations

import itertools

import numpy as np

from actprof.loading.synthetic import Synthetic, draw_frames

SEEN = Synthetic(cameras=2, width=96, height=64, storage="video", frames=3)


def test_frames_move_and_repeat_with_their_seed():
    """Each differs from the one before; the same seed draws the same, another does not."""
    frames = list(draw_frames(SEEN, seed=1))
    assert {(64, 96, 3)} == {frame.shape for frame in frames}
    assert np.uint8 == frames[0].dtype
    assert all((first != second).any() for first, second in itertools.pairwise(frames))
    assert all((a == b).all() for a, b in zip(frames, draw_frames(SEEN, seed=1), strict=True))
    assert (frames[0] != next(draw_frames(SEEN, seed=2))).any()


def test_each_kind_has_a_folder_of_its_own():
    """Storage, cameras, sizes and length are in its name."""
    small = Synthetic(cameras=2, width=96, height=64, storage="video", recorded="32x32")
    assert "video-2x96x64-to-32x32-2x60" == small.name
    assert "video-2x96x64-2x3" == SEEN.name
