"""Integers that decide sizes keep their values on a device that has none."""

from __future__ import annotations

import pytest
import torch

from actprof.trace.fake import fake_cuda
from actprof.trace.recorder import Recorder
from actprof.trace.values import FollowsValues, count_true, known_values

ROWS = [[1, 2, 2], [3, 2, 1]]


@pytest.fixture
def recorder():
    """Enter a device without data on which values are followed, and record what happens there."""
    with fake_cuda(), Recorder("cuda") as recorder, FollowsValues():
        yield recorder


def values(tensor):
    """Return the values of a tensor, as a list."""
    return known_values(tensor).tolist()


def test_what_follows_from_known_integers_is_known(recorder):
    """On any device, through views, arithmetic and comparisons."""
    grid = torch.tensor(ROWS, device="cuda")
    assert ROWS == grid.tolist()
    assert [4, 6] == values(grid.prod(-1))
    assert [[False, True, True], [False, True, False]] == values(grid == 2)
    assert (4, 2) == (grid[0].prod().item(), len(grid[:, 0].unique_consecutive()))
    assert [1, 3] == torch.tensor([row[0] for row in grid], device="cuda").tolist()


def test_a_view_sees_what_is_written_into_its_base(recorder):
    """And the base what is written into a view."""
    base = torch.zeros(4, dtype=torch.int64, device="cuda")
    view = base[1:3]
    view.fill_(7)
    base[0] = 5
    assert ([5, 7, 7, 0], [7, 7]) == (values(base), values(view))


def test_sizes_are_those_of_the_values(recorder):
    """Masks pick as many elements as are true, repeats add up, and no note says that anything was assumed."""
    mask = torch.tensor([[True, False], [True, True]], device="cuda")
    data = torch.randn(2, 2, 8, device="cuda")
    assert (3, (3, 8), (3, 2)) == (count_true(mask), tuple(data[mask].shape), tuple(mask.nonzero().shape))
    assert (3,) == tuple(data[..., 0].masked_select(mask).shape)
    counts = torch.tensor([2, 0, 3], device="cuda")
    assert (5,) == tuple(torch.repeat_interleave(counts).shape)
    assert [] == [note for note in recorder.notes if "depends on the data" in note]


def test_what_nobody_knows_stays_unknown(recorder):
    """Figures, random integers and what is made of them; written into a known tensor they count as ones."""
    noise = torch.rand(3, device="cuda")
    drawn = torch.randint(0, 9, (3,), device="cuda")
    assert [None] * 3 == [known_values(tensor) for tensor in (noise, noise > 0.5, drawn + 1)]
    assert ([1.0] * 3, [1] * 3) == (noise.tolist(), drawn.tolist())
    known = torch.zeros(3, dtype=torch.int64, device="cuda")
    known.copy_(drawn)
    assert [1, 1, 1] == values(known)
    assert 3 == count_true(noise > 0.5)


def test_the_device_sees_the_same_ops(recorder):
    """What is worked out on the side is not recorded."""
    grid = torch.arange(4, device="cuda")
    before = len(recorder.op_names)
    _ = (grid + 1) == 2
    assert ["aten.add.Tensor", "aten.eq.Scalar"] == recorder.op_names[before:]


def test_nothing_is_followed_unless_asked_for():
    """A policy's spec says whether it is needed."""
    with fake_cuda(), Recorder("cuda"):
        assert known_values(torch.arange(3, device="cuda")) is None
