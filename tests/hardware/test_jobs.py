"""Machines of `--job.target`."""

from __future__ import annotations

import pytest

from actprof.errors import UsageError
from actprof.hardware.jobs import job_machine


def test_a_flavour_names_its_card():
    """And how many there are."""
    machine = job_machine("a10g-largex2")
    assert ("A10G", 2) == (machine.gpu, machine.count)


@pytest.mark.parametrize(
    ("flavour", "said"),
    [
        ("a10g-larg", "did you mean a10g-large"),
        ("cpu-basic", "has no GPU; name a flavour"),
        ("moon", "that actprof knows. Name its GPU with --gpu"),
    ],
)
def test_what_cannot_be_told_names_the_way_out(flavour, said):
    """A typo, a machine without GPU, one that nobody knows."""
    with pytest.raises(UsageError, match=said):
        job_machine(flavour)
