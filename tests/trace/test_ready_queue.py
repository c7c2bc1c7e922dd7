"""The ready queue pops in the order of C++'s `std::priority_queue`, ties included."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from actprof.trace.ready_queue import ReadyQueue

POP = -1


def run(script):
    """Push each priority with its number as the item; POP pops. Return what came out, and then the rest."""
    queue, popped, pushed = ReadyQueue(), [], 0
    for priority in script:
        if priority == POP:
            popped.append(queue.pop())
        else:
            queue.push(priority, pushed)
            pushed += 1
    return popped + [queue.pop() for _ in range(len(queue))]


# What a C++ program with std::priority_queue (libstdc++) printed for these scripts.
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([1] * 7, [0, 2, 5, 6, 4, 1, 3]),
        ([7] * 8, [0, 2, 6, 5, 7, 4, 1, 3]),
        ([5, 5, 5, POP, 5, 5, POP, POP, 5, 3, 9, 9, POP, 9, POP, POP, 7], [0, 1, 3, 7, 8, 9, 10, 4, 2, 5, 6]),
        ([1, 2, 3, 2, 1, 3, POP, 2, 3, POP, POP, 1], [2, 5, 7, 6, 1, 3, 8, 0, 4]),
    ],
    ids=["seven alike", "eight alike", "interleaved", "three priorities"],
)
def test_ties_leave_in_the_order_of_the_c_plus_plus_queue(script, expected):
    """Among equals the order is that of the heap's moves, not of arrival."""
    assert expected == run(script)


def push_heap(heap, entry):
    """Follow `std::push_heap` as cppreference describes it: up, while the parent is smaller."""
    heap.append(entry)
    child = len(heap) - 1
    while child > 0 and heap[(child - 1) // 2][0] < heap[child][0]:
        heap[child], heap[(child - 1) // 2] = heap[(child - 1) // 2], heap[child]
        child = (child - 1) // 2


def pop_heap(heap):
    """Follow libstdc++'s `__adjust_heap` by swaps: the hole to the bottom, the last entry up from there."""
    top, last = heap[0], heap.pop()
    if not heap:
        return top
    hole = 0
    while (right := 2 * hole + 2) <= len(heap):
        larger = right
        if right == len(heap) or heap[right][0] < heap[right - 1][0]:
            larger = right - 1
        heap[hole], heap[larger] = heap[larger], heap[hole]
        hole = larger
    heap[hole] = last
    while hole > 0 and heap[(hole - 1) // 2][0] < heap[hole][0]:
        heap[hole], heap[(hole - 1) // 2] = heap[(hole - 1) // 2], heap[hole]
        hole = (hole - 1) // 2
    return top


@given(st.lists(st.one_of(st.just(POP), st.integers(0, 4)), max_size=60))
def test_any_sequence_follows_a_plain_heap_of_swaps(script):
    """Pushes and pops in any order agree with a straightforward heap."""
    queue, heap = ReadyQueue(), []
    for number, priority in enumerate(script):
        if priority != POP:
            queue.push(priority, number)
            push_heap(heap, (priority, number))
        elif heap:
            assert pop_heap(heap)[1] == queue.pop()
    assert [pop_heap(heap)[1] for _ in range(len(heap))] == [queue.pop() for _ in range(len(queue))]


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_the_highest_priority_comes_first(priorities):
    """Without ties the order is that of the priorities, leaves (2**64 - 1) first."""
    queue = ReadyQueue()
    for priority in priorities:
        queue.push(priority, priority)
    assert len(priorities) == len(queue)
    assert sorted(priorities, reverse=True) == [queue.pop() for _ in priorities]
    assert not queue
