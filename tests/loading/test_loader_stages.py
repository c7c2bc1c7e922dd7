"""The stopwatch at the seams of lerobot's reader."""

from __future__ import annotations

import contextlib

from actprof.loading.stages import Stopwatch, _OneAfterAnother


def test_inner_parts_are_not_counted_twice():
    """The parts add up to the whole."""
    times = iter([0.0, 1.0, 4.0, 9.0, 9.0])
    watch = Stopwatch(lambda: next(times))
    with watch.part("rest"), watch.part("decode"):
        pass
    assert {"rest": 1.0 + 5.0, "decode": 3.0} == dict(watch.seconds)


def test_what_fails_is_booked_all_the_same():
    """A part ends however it ends."""
    times = iter([0.0, 2.0])
    watch = Stopwatch(lambda: next(times))

    def fail():
        raise ValueError

    with contextlib.suppress(ValueError):
        watch.around("seek", fail)()
    assert {"seek": 2.0} == dict(watch.seconds)


def test_threads_wait_for_each_other():
    """A submitted call is over before the next begins, and its error comes with its result."""
    seen = []
    with _OneAfterAnother(max_workers=2) as pool:
        first = pool.submit(seen.append, 1)
        seen.append(2)
        failed = pool.submit(int, "x")
    assert [1, 2] == seen
    assert first.result() is None
    assert isinstance(failed.exception(), ValueError)
