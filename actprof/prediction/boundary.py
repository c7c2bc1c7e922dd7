"""Find the batch size at which a run stops fitting, by replaying."""

from __future__ import annotations

from collections.abc import Callable

from actprof.results import MOST_BATCH_SIZE

_NEIGHBOURS = 3


def find_boundary(
    runs: Callable[[int], bool], *, at_most: int = MOST_BATCH_SIZE, limit: int = MOST_BATCH_SIZE
) -> int:
    """Return the largest batch size for which `runs` holds, and for those right below it; 0 for none.

    Whether a run fits need not be monotonic in the batch size (a larger block can leave less slack). A size
    that runs although a smaller one does not is luck, which the next version of a library ends.

    Args:
        runs: whether a batch size gets through.
        at_most: no larger batch size can run (a bound from the bytes that are alive at once).
        limit: the search ends here.
    """
    answers: dict[int, bool] = {}

    def holds(size: int) -> bool:
        if size not in answers:
            answers[size] = runs(size)
        return answers[size]

    top = min(at_most, limit)
    if top < 1:
        return 0
    boundary = _bisect(holds, top)
    while boundary:
        below = range(max(boundary - _NEIGHBOURS, 1), boundary + 1)
        gap = next((size for size in below if not holds(size)), None)
        if gap is None:
            return boundary
        boundary = gap - 1
    return 0


def _bisect(holds: Callable[[int], bool], top: int) -> int:
    """Return a batch size that holds while the next does not, searching down from `top`; 0 if none."""
    if holds(top):
        return top
    fails, step = top, max(top // 32, 1)
    low = max(top - step, 0)
    while low > 0 and not holds(low):
        fails, step = low, step * 2
        low = max(low - step, 0)
    while fails - low > 1:
        middle = (low + fails) // 2
        if holds(middle):
            low = middle
        else:
            fails = middle
    return low


def bracket_boundary(runs: Callable[[int], bool], *, guess: int, limit: int = MOST_BATCH_SIZE) -> int:
    """Return a batch size that runs while the next larger one does not, asking as seldom as possible.

    For runs that cost minutes: it starts at a guess, and one that is right takes two runs. Both sides of the
    answer have been tried when it returns.

    Args:
        runs: whether a batch size gets through.
        guess: the batch size to start with, such as the predicted boundary.
        limit: the largest batch size to try.
    """
    low, high, step = 0, limit + 1, 1
    size = min(max(guess, 1), limit)
    while high - low > 1:
        if runs(size):
            low = size
        else:
            high = size
        if low and high <= limit:
            size = (low + high) // 2
        else:  # one side is not known yet: go there in steps that double
            size = min(low + step, limit) if low else max(high - step, 1)
            step *= 2
    return low
