"""The hosts that are known, and how one is chosen."""

from __future__ import annotations

import pytest

from actprof.errors import UsageError
from actprof.step_time.calibration import Calibration, calibration_of, uncalibrated
from actprof.step_time.host import TIMES, VARIABLE, default_host, find_host, known_hosts


def test_every_host_says_where_its_figures_are_from():
    """And each is told from the others by its name."""
    hosts = known_hosts()

    assert len({host.name for host in hosts}) == len(hosts) > 2
    assert all(host.source and host.processor for host in hosts)
    assert all(getattr(host, name) > 0 for host in hosts for name in TIMES)


def test_a_part_of_a_name_is_enough():
    """One that fits none, or several, is refused with what there is."""
    assert "server with B200s" == find_host("b200").name
    with pytest.raises(UsageError, match="'nothing' is unknown; choose one of 'Xeon with an H100'"):
        find_host("nothing")
    with pytest.raises(UsageError, match="ambiguous"):
        find_host("with")


def test_a_faster_host_is_faster_in_everything():
    """By the same factor."""
    usual, faster = default_host(), default_host().faster(2.0)
    assert all(getattr(usual, name) == 2 * getattr(faster, name) for name in TIMES)


def test_a_host_that_is_named_comes_first(monkeypatch):
    """For every GPU; the ledger is predicted without."""
    assert calibration_of("T4") is None
    monkeypatch.setenv(VARIABLE, "B200")

    assert Calibration(host=find_host("B200")) == calibration_of("T4")
    with uncalibrated():
        assert calibration_of("T4") is None
