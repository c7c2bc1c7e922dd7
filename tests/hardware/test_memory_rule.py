"""What a card is taken to have where nobody printed it: nvidia-smi's figure less what drivers keep."""

from __future__ import annotations

import re

import pytest

from actprof.hardware import all_gpus, find_gpu
from actprof.units import GIB, MIB

# MiB that nvidia-smi names, of cards whose memory as torch reports it has been printed as well.
KNOWN = {
    "RTX 2080 Ti": 11264, "RTX 3060": 12288, "RTX 3060 Ti": 8192, "RTX 3070": 8192, "RTX 3080": 10240,
    "RTX 3080 Ti": 12288, "RTX 3090": 24576, "RTX 3090 Ti": 24564, "RTX 4060": 8188, "RTX 4060 Ti": 8188,
    "RTX 4070 Laptop": 8188, "RTX 4080 SUPER": 16376, "RTX 4090": 24564, "RTX 4090 D": 24564,
    "RTX 5060 Ti": 16311, "RTX 5080": 16303, "RTX 5090": 32607, "A30": 24576, "RTX A5000": 24564,
    "RTX A6000": 49140, "RTX 4000 SFF Ada": 20475, "RTX 6000 Ada": 49140, "RTX PRO 5000": 48935,
    "RTX PRO 6000": 97887, "H100": 81559,
}  # fmt: skip
ESTIMATED = [gpu for gpu in all_gpus() if "of nvidia-smi less 410 MiB" in gpu.sources["capacity_bytes"]]


def left_of(mib):
    """Return the bytes that are left of what nvidia-smi names."""
    return mib * MIB - 410 * MIB - 5 * MIB * mib / 1024


@pytest.mark.parametrize("name", KNOWN)
def test_no_card_that_is_known_has_less_than_the_rule_leaves(name):
    """Of 25 cards; the rule is at worst cautious by half a GiB."""
    room = find_gpu(name).capacity_bytes - left_of(KNOWN[name])
    assert -MIB <= room <= GIB / 2


@pytest.mark.parametrize("gpu", ESTIMATED, ids=lambda gpu: gpu.name)
def test_an_estimated_memory_is_what_the_rule_leaves(gpu):
    """Of the figure that its source names, in hundredths of a GiB."""
    named = int(re.search(r"the (\d+) MiB of nvidia-smi", gpu.sources["capacity_bytes"])[1])
    assert 0 <= left_of(named) - gpu.capacity_bytes <= GIB / 100
