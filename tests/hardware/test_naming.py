"""Loose GPU names."""

import pytest

from actprof.errors import UsageError
from actprof.hardware import Catalogue, all_gpus, find_gpu
from actprof.hardware.machines import _machines, gpu_of_machine
from actprof.hardware.names import name_key


def ways_out(size="SIZE (like 23.5GiB, of 24 GB)"):
    """Return how the message for an unknown card ends."""
    return (
        f"`actprof gpus` lists all; --capacity {size} takes any card of that size, and "
        "/nowhere/actprof/gpus.toml can describe it"
    )


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
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "RTX 4070 Laptop"),
        ("RTX 4070 Mobile", "RTX 4070 Laptop"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("TITAN RTX", "TITAN RTX"),
        ("Tesla V100-SXM2-32GB", "V100 32 GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA GH200 480GB", "GH200 96 GB"),
        ("NVIDIA GB10", "DGX Spark"),
        ("4090D", "RTX 4090 D"),
        ("RTX 4060 Ti 16G", "RTX 4060 Ti 16 GB"),
        ("4060ti16gb", "RTX 4060 Ti 16 GB"),
        ("a10", "A10"),
        ("A10G", "A10G"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "Jetson Orin 32 GB"),
        ("AMD Instinct MI300X", "MI300X"),
        ("AMD Radeon RX 7900 XTX", "Radeon RX 7900 XTX"),
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770"),
        ("1x GH200", "GH200 96 GB"),
        ("8x H100", "H100 80 GB"),
        ("2xRTX4090", "RTX 4090"),
        ("RTX 4090 x2", "RTX 4090"),
        ("1x A10 (24 GB PCIe)", "A10"),
        ("1x A6000 (48 GB)", "RTX A6000"),
        ("gpu_1x_a100_sxm4", "A100 40 GB"),
        ("A100 SXM", "A100 40 GB"),
        ("A100 80GB SXM4", "A100 80 GB"),
        ("H100 SXM5 80GB", "H100 80 GB"),
        ("H100 80GB SXM5", "H100 80 GB"),
        ("V100S-PCIE-32GB", "V100 32 GB"),
        ("Colab T4", "T4"),
        ("DGX Spark", "DGX Spark"),
        ("RTX_4090", "RTX 4090"),
        ("RTX 4080S", "RTX 4080 SUPER"),
        ("RTX 4070S Ti", "RTX 4070 Ti SUPER"),
        ("4070TiS", "RTX 4070 Ti SUPER"),
        ("RTX 4050", "RTX 4050 Laptop"),
        ("RTX 6000Ada", "RTX 6000 Ada"),
        ("RTX PRO 6000 WS", "RTX PRO 6000 Blackwell"),
        ("NVIDIA GeForce RTX 3080 with Max-Q Design", "RTX 3080 Laptop 8 GB"),
        ("RTX PRO 6000 Max-Q", "RTX PRO 6000 Max-Q"),
        ("g5.xlarge", "A10G"),
        ("g6e.12xlarge", "L40S"),
        ("ml.p4d.24xlarge", "A100 40 GB"),
        ("p5en.48xlarge", "H200"),
        ("a2-highgpu-1g", "A100 40 GB"),
        ("a3-ultragpu-8g", "H200"),
        ("Standard_NC24ads_A100_v4", "A100 80 GB"),
        ("ND96isr_H100_v5", "H100 80 GB"),
        ("a10g-large", "A10G"),
        ("l40sx1", "L40S"),
    ],
)
def test_usual_names_are_understood(name, expected):
    """Case, spaces, brand and a memory size that adds nothing do not matter."""
    assert expected == find_gpu(name).name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "RTX 4080 Ti",
            "unknown GPU 'RTX 4080 Ti'; nearest by name: RTX 4070 Ti, RTX 4060 Ti 8 GB, RTX 3080 Ti; ",
        ),
        (
            "RTX 6000",
            (
                "unknown GPU 'RTX 6000'; nearest by name: Quadro RTX 6000, RTX A6000, RTX 6000 Ada, "
                "RTX PRO 6000 Blackwell; "
            ),
        ),
        ("", "unknown GPU ''; "),
        ("MI400", "unknown GPU 'MI400'; nearest by name: MI100, MI300X, MI300A; "),
        ("n1-standard-4", "unknown GPU 'n1-standard-4'; "),
        ("M2 Max", "unknown GPU 'M2 Max'; it has no CUDA memory, and actprof knows no other; "),
    ],
)
def test_a_name_that_means_no_card_is_refused_with_the_nearest(monkeypatch, name, expected):
    """At most three that look like it, and the ways out."""
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", "/nowhere/actprof")
    with pytest.raises(UsageError) as caught:
        find_gpu(name)
    assert f"{expected}{ways_out()}" == str(caught.value)


def test_a_name_with_a_memory_size_also_tells_the_nearest_by_memory(monkeypatch):
    """NVIDIA's, the newest first of those that are as near."""
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", "/nowhere/actprof")
    with pytest.raises(UsageError) as caught:
        find_gpu("RTX 4090 48GB")
    assert str(caught.value) == (
        "unknown GPU 'RTX 4090 48GB'; the RTX 4090 is known, with 23.64 GiB: --gpu 'RTX 4090' "
        "--capacity 47.4GiB is one with 48 GB; nearest by name: RTX 4090, RTX 4090 D, RTX 4060; "
        f"by memory (48 GB): RTX A6000, RTX 6000 Ada, Quadro RTX 8000; {ways_out('47.4GiB')}"
    )


def test_a_name_that_means_two_cards_lists_both():
    """Where none of them is what the bare name stands for."""
    both = Catalogue(()).with_entries(
        {"Lab 24 GB": {"capacity": "23GiB"}, "Lab 48 GB": {"capacity": "47GiB"}}, origin="x"
    )
    with pytest.raises(UsageError, match="GPU 'lab' is ambiguous; write Lab 24 GB or Lab 48 GB"):
        both.find("lab")


@pytest.mark.parametrize(
    "name", ["5065", "RTX 3060 6GB", "RTX 4060 SUPER", "RTX 6000", "4090 Ti", "a", "rtx", "gpu", "A11"]
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


def test_every_machine_has_a_card_of_the_catalogue():
    """The table of clouds and the catalogue go together."""
    names = {gpu.name for gpu in all_gpus()}
    assert set() == {gpu for _, gpu in _machines()} - names


@pytest.mark.parametrize("name", ["g6f.xlarge", "NV6ads_A10_v5", "c5.xlarge", "g5", "", "RTX 4090"])
def test_a_part_of_a_card_is_no_machine_with_one(name):
    """Its memory is not the card's."""
    assert "" == gpu_of_machine(name)
