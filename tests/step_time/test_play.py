"""The queue between host and device."""

from __future__ import annotations

import pytest

from actprof.step_time.play import Launch, play

LATENCY = 4e-6


def played(host, device, waits=(), *, wait=0.0):
    launches = [
        Launch(one, other, index in waits)
        for index, (one, other) in enumerate(zip(host, device, strict=True))
    ]
    return play(launches, gap=0.0, wait=wait, around=0.0)


def test_a_slow_host_leaves_the_device_idle():
    """Each kernel waits for its launch: the step is the host's time and the last kernel."""
    found = played([1, 1, 1], [0.25, 0.25, 0.25])
    assert (3.25, 2.5) == pytest.approx((found.seconds, found.idle_seconds), abs=2 * LATENCY)


def test_a_slow_device_hides_the_host():
    """The host runs ahead; the device idles only until the first launch."""
    found = played([1, 1, 1], [10, 10, 10])
    assert (31.0, 1.0) == pytest.approx((found.seconds, found.idle_seconds), abs=2 * LATENCY)


def test_a_wait_drains_the_queue():
    """What is launched after it comes too late for the device."""
    found = played([1, 1, 1], [10, 1e-9, 10], waits={1}, wait=0.5)
    assert (22.5, 2.5) == pytest.approx((found.seconds, found.idle_seconds), abs=4 * LATENCY)


def test_the_host_waits_for_a_full_queue():
    """It runs ahead by 1,024 launches, no further."""
    found = played([1e-6] * 3000, [1.0] * 3000)
    assert found.launched[-1] == pytest.approx(3000 - 1024, abs=2.0)
    assert found.seconds == pytest.approx(3000, rel=1e-3)


def test_host_device_and_idle_make_the_step():
    """The device is at work or idle; the host's own time leaves its waits out."""
    found = played([1, 1, 1], [2, 3, 4], waits={0}, wait=0.25)

    assert found.seconds == pytest.approx(found.device_seconds + found.idle_seconds)
    assert 3 == found.host_seconds
    assert all(begun >= launched for begun, launched in zip(found.began, found.launched, strict=True))
    assert found.ended[-1] == pytest.approx(found.seconds)
