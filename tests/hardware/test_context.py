"""What a process takes of a card beside PyTorch's segments."""

from __future__ import annotations

import pytest

from actprof.hardware.entries import estimate_context_bytes
from actprof.units import MIB


@pytest.mark.parametrize(
    ("capability", "multiprocessors", "known_mib", "within"),
    [((9, 0), 132, 764, 0.01), ((12, 0), 36, 287, 0.08)],
    ids=["one H100, by NVML", "an RTX 5060 Ti, by its out-of-memory message"],
)
def test_the_estimate_is_near_what_is_known_of_two_cards(capability, multiprocessors, known_mib, within):
    """Both from the same figure for each multiprocessor; too much rather than too little."""
    assert estimate_context_bytes(capability, multiprocessors) == pytest.approx(known_mib * MIB, rel=within)


def test_a_wider_card_takes_more():
    """Multiprocessors cost memory each; no card takes less than anyone reports."""
    sizes = [estimate_context_bytes((8, 6), count) for count in (1, 28, 82, 84)]
    assert sorted(sizes) == sizes
    assert 250 * MIB == sizes[0]
