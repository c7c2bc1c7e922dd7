"""Loose GPU names."""

import pytest

from actprof.errors import UsageError
from actprof.hardware import all_gpus, find_gpu
from actprof.hardware.catalogue import name_key

LIST = "`actprof gpus` lists all"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3090", "RTX 3090"),
        ("rtx3090", "RTX 3090"),
        ("RTX-3090", "RTX 3090"),
        ("RTX 3090 24GB", "RTX 3090"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("3060", "RTX 3060 12 GB"),
        ("5060 ti", "RTX 5060 Ti 16 GB"),
        ("RTX5060Ti", "RTX 5060 Ti 16 GB"),
        ("NVIDIA GeForce RTX 5060 Ti", "RTX 5060 Ti 16 GB"),
        ("a100-80", "A100 80 GB"),
        ("a100 80gb", "A100 80 GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 40 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80 GB"),
        ("H100", "H100 80 GB"),
        ("NVIDIA H100 80GB HBM3", "H100 80 GB"),
        ("Tesla T4", "T4"),
        ("l4", "L4"),
        ("orin", "Jetson Orin 32 GB"),
        ("jetson orin", "Jetson Orin 32 GB"),
        ("NVIDIA Thor", "Jetson AGX Thor"),
    ],
)
def test_usual_names_are_understood(name, expected):
    """Case, spaces, brand and a memory size that adds nothing do not matter."""
    assert expected == find_gpu(name).name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A100", "GPU 'A100' is ambiguous; write A100 40 GB or A100 80 GB"),
        (
            "RTX 3080 Ti",
            f"unknown GPU 'RTX 3080 Ti'; the nearest are RTX 3090 Ti, RTX 3080, RTX 5070 Ti; {LIST}",
        ),
        ("4090D", f"unknown GPU '4090D'; the nearest are RTX 4090, RTX 5090, RTX 4080; {LIST}"),
        ("", f"unknown GPU ''; {LIST}"),
        ("MI300X", f"unknown GPU 'MI300X'; {LIST}"),
    ],
)
def test_a_name_that_means_no_single_card_is_refused_with_the_nearest(name, expected):
    """An ambiguous name lists all that fit, an unknown one at most three that look like it."""
    with pytest.raises(UsageError) as caught:
        find_gpu(name)
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    "name", ["5060", "5070", "RTX 3060 8GB", "RTX 4070 Ti", "RTX 4080 SUPER", "a", "rtx", "gpu", "A10"]
)
def test_a_similar_card_is_not_taken_for_a_known_one(name):
    """Another model, another memory size or a fragment is unknown: a wrong card is worse than a question."""
    with pytest.raises(UsageError, match="unknown GPU"):
        find_gpu(name)


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
def test_every_name_and_alias_means_its_own_card(gpu):
    """No alias of one card stands for another."""
    for name in (gpu.name, *gpu.aliases, gpu.name.lower(), f"NVIDIA {gpu.name}", gpu.name.replace(" ", "-")):
        assert gpu.name == find_gpu(name).name


def test_keys_leave_out_brand_and_unit():
    """What is left tells cards apart."""
    assert ("4090",) == name_key("NVIDIA GeForce RTX 4090")
    assert ("a", "100", "sxm", "4", "80") == name_key("NVIDIA A100-SXM4-80GB")
