"""Scratch of kernels that find positions and add up rows by them, on other cards and at the edges."""

from __future__ import annotations

import pytest

from actprof.hardware import find_gpu
from actprof.kernels.indexing import (
    EmbeddingGradient,
    IndexSort,
    Selection,
    embedding_buffers,
    selection_buffers,
    sort_buffers,
)
from actprof.kernels.problem import GrowingProblem, take_apart
from actprof.replay.kernel_bytes import architecture_of


def selected(elements, gpu="H100"):
    return selection_buffers(Selection(elements), architecture_of(find_gpu(gpu)))


def test_a_sum_of_one_tile_needs_no_scratch():
    """But a byte, as cub asks for some; of more it is 4 bytes for five blocks of each that runs."""
    assert [1, 1, 21503] == [selected(elements)[0] for elements in (1, 4096, 4097)]
    blocks = 82 * (1536 // 256) * 5  # of an RTX 3090
    assert -(-4 * blocks // 256) * 256 + 255 == selected(10**6, "RTX 3090")[0]
    assert (0, 0) == selected(0)


def test_few_indices_are_added_up_without_sorting():
    """Up to 3,072; from then on memory grows with them, never in fewer parts than rows are met."""
    assert {0} == set(embedding_buffers(EmbeddingGradient(3072, 1000, 512)))
    one, more = (embedding_buffers(EmbeddingGradient(n, 1000, 512)) for n in (3073, 30_730))
    assert all(small <= large for small, large in zip(one, more, strict=True))
    assert (3073 // 10 + 1000) * 512 * 4 == one[-1]


def test_a_sort_of_one_tile_is_in_place():
    """A byte for cub; from then on copies of indices and places, and its tables."""
    assert [(0,), (1,)] == [sort_buffers(IndexSort(elements, 99)) for elements in (0, 3584)]
    assert 2 * 8 * 3585 < sort_buffers(IndexSort(3585, 99))[0]


@pytest.mark.parametrize("kind", [Selection, lambda n: IndexSort(n, n), lambda n: EmbeddingGradient(n, 9, 4)])
def test_a_problem_grows_with_the_batch(kind):
    """What two batch sizes give is what a third has."""
    (form, two), (_form, three) = take_apart(kind(200)), take_apart(kind(300))
    each = tuple((b - a) for a, b in zip(two, three, strict=True))
    constant = tuple(a - 2 * step for a, step in zip(two, each, strict=True))

    assert kind(700) == GrowingProblem(form, constant, each).at(7)
