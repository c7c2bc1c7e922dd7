"""What FSDP's collectives hold up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from actprof.step_time.collectives import Collective, stall


def step(*rows, seconds=1.0, launched=0.1):
    """Return a step of launches of a second each, which the host asked for long before."""
    began = np.arange(len(rows)) * seconds
    played = SimpleNamespace(
        began=began, ended=began + seconds, launched=launched * np.arange(1, len(rows) + 1)
    )
    return SimpleNamespace(rows=rows, played=played)


def test_what_is_gathered_early_costs_nothing():
    """The host asks for the next unit while this one is computed."""
    gathered = [Collective(3, 0.5, is_gathered=True)]
    assert 0.0 == stall(step(1, 2, 4, 5), gathered, first_of_optimizer=3)


def test_the_first_unit_waits_for_all_of_its_gathering():
    """Nothing is computed before it; what follows is late by as much, and then not again."""
    first = [Collective(0, 0.5, is_gathered=True)]
    assert 0.5 == stall(step(1, 2, 4, 5), first, first_of_optimizer=3)
    assert 0.5 == stall(
        step(1, 2, 4, 5), [*first, Collective(3, 1.0, is_gathered=True)], first_of_optimizer=3
    )


def test_gathering_that_takes_longer_than_computing_is_what_a_step_takes():
    """One after another, each unit waiting for its own."""
    gathered = [Collective(row, 3.0, is_gathered=True) for row in (0, 2, 4)]
    found = stall(step(1, 3, 5), gathered, first_of_optimizer=3)
    assert 9.0 - 2.0 == pytest.approx(found)  # the last is there at 9, and was to begin at 2


def test_gradients_hold_up_the_optimizer_alone():
    """They are summed up while the backward pass goes on."""
    summed = [Collective(2, 1.5, is_gathered=False)]  # behind the first launch
    assert 0.0 == stall(step(1, 3, 5, 7), summed, first_of_optimizer=3)
    assert 0.5 == pytest.approx(stall(step(1, 3, 5), summed, first_of_optimizer=2))
