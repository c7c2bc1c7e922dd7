"""The shipped catalogue, and catalogues that add to it."""

import subprocess
import sys
from dataclasses import fields

import pytest

from actprof.errors import UsageError
from actprof.hardware import Catalogue, Gpu, all_gpus, builtin_catalogue, custom_gpu, find_gpu
from actprof.units import GIB, MIB

NOT_FIGURES = {"name", "aliases", "sources"}
EXPECTED_NAMES = [
    "RTX 3060 12 GB", "RTX 3080", "RTX 3090", "RTX 3090 Ti", "RTX 4070", "RTX 4080", "RTX 4090",
    "RTX 5060 Ti 16 GB", "RTX 5070 Ti", "RTX 5090", "T4", "L4", "A10G", "A100 40 GB", "A100 80 GB",
    "H100 80 GB", "H200", "B200", "Jetson Orin 32 GB", "Jetson AGX Thor",
]  # fmt: skip

every_gpu = pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)


def test_the_catalogue_has_the_gpus_that_people_train_on():
    """The shipped names, in the order of the file."""
    assert EXPECTED_NAMES == [gpu.name for gpu in all_gpus()]


@every_gpu
def test_every_figure_has_a_source(gpu):
    """No figure without a source, no source without a figure."""
    figures = {f.name for f in fields(Gpu)} - NOT_FIGURES
    given = {name for name in figures if getattr(gpu, name) is not None}
    assert given == set(gpu.sources)
    assert all(gpu.sources.values())


@every_gpu
def test_figures_are_of_a_plausible_size(gpu):
    """A unit that slipped would be off by a thousand."""
    assert 8 * GIB < gpu.capacity_bytes < 200 * GIB
    assert 250 * MIB <= gpu.context_bytes <= 850 * MIB  # measured on an H100: 764 MiB
    assert gpu.memory_bandwidth_bytes_per_s is not None
    assert gpu.fp32_flops is not None
    assert 1e11 < gpu.memory_bandwidth_bytes_per_s < 1e13
    assert 1e12 < gpu.fp32_flops < 2e14


@every_gpu
def test_tensor_cores_are_at_least_as_fast_as_the_ordinary_ones(gpu):
    """Dense rates obey fp32 <= tf32 <= bf16 = fp16 where they exist; before Ampere there is fp16 alone."""
    assert gpu.fp32_flops is not None
    assert gpu.fp16_flops is not None
    assert gpu.fp32_flops < gpu.fp16_flops
    if gpu.compute_capability < (8, 0):
        assert (None, None) == (gpu.tf32_flops, gpu.bf16_flops)
    else:
        assert gpu.tf32_flops is not None
        assert gpu.fp32_flops <= gpu.tf32_flops < gpu.fp16_flops
        assert gpu.fp16_flops == gpu.bf16_flops


@every_gpu
def test_capacity_is_below_what_the_box_says(gpu):
    """A name that holds a size in GB promises more than torch reports in GiB."""
    words = gpu.name.split()
    if words[-1] == "GB":
        assert gpu.capacity_bytes < int(words[-2]) * GIB


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RTX 3090", "23.69"),
        ("RTX 5060 Ti 16 GB", "15.48"),
        ("RTX 4090", "23.64"),
        ("RTX 3060 12 GB", "11.65"),
    ],
)
def test_capacities_are_those_that_pytorch_prints(name, expected):
    """Two digits after the point, as in an out-of-memory message; the lower end where reports differ."""
    assert expected == f"{find_gpu(name).capacity_bytes / GIB:.2f}"


def test_the_unconfirmed_capacity_says_so():
    """Nobody has confirmed the figure of the RTX 3080."""
    assert find_gpu("RTX 3080").is_estimate("capacity_bytes")


def test_a_capacity_alone_stands_for_a_cautious_gpu():
    """Name from the size, a large context, no speeds, and sources that admit it."""
    gpu = custom_gpu(24 * GIB)
    assert (gpu.name, gpu.capacity_bytes, gpu.compute_capability) == ("24.00 GiB GPU", 24 * GIB, (8, 6))
    assert max(known.context_bytes for known in all_gpus()) <= gpu.context_bytes
    assert (None, None) == (gpu.memory_bandwidth_bytes_per_s, gpu.fp32_flops)
    assert {"capacity_bytes", "context_bytes", "compute_capability"} == set(gpu.sources)
    assert gpu.is_estimate("context_bytes")


def test_adding_a_gpu_leaves_the_shipped_catalogue_alone():
    """GIVEN an own card WHEN added THEN only the new catalogue knows it."""
    mine = builtin_catalogue().with_entries({"Lab card": {"capacity": "47GiB"}}, origin="given in lab.yaml")
    assert 47 * GIB == mine.find("lab card").capacity_bytes
    assert len(all_gpus()) + 1 == len(mine.gpus)
    with pytest.raises(UsageError):
        find_gpu("Lab card")


def test_a_users_figure_replaces_the_shipped_one():
    """GIVEN an entry of a shipped name WHEN added THEN that name means the user's."""
    mine = builtin_catalogue().with_entries({"RTX 3090": {"capacity": "23GiB"}}, origin="given in lab.yaml")
    assert 23 * GIB == mine.find("3090").capacity_bytes
    assert len(all_gpus()) == len(mine.gpus)


def test_an_exact_name_wins_over_a_loose_one():
    """GIVEN two cards of the same loose key WHEN one is named exactly THEN it is meant."""
    mine = Catalogue(()).with_entries({"3090": {"capacity": "20GiB"}}, origin="x")
    both = Catalogue((*mine.gpus, find_gpu("RTX 3090")))
    assert ("3090", "RTX 3090") == (both.find("3090").name, both.find("RTX 3090").name)


def test_importing_hardware_and_scenario_costs_nothing_heavy():
    """The command line shows its help without torch, lerobot, pydantic, yaml or numpy."""
    code = (
        "import sys, actprof.hardware, actprof.scenario;"
        "print(sorted({'torch', 'lerobot', 'pydantic', 'yaml', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
