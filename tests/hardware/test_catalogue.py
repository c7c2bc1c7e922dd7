"""The shipped catalogue, and catalogues that add to it."""

import subprocess
import sys
from dataclasses import fields

import pytest

from actprof.errors import UsageError
from actprof.hardware import Catalogue, Gpu, all_gpus, builtin_catalogue, custom_gpu, find_gpu
from actprof.hardware.gpu import NVIDIA
from actprof.units import GIB, KIB, MIB

NOT_FIGURES = {"name", "aliases", "vendor", "generation", "sources"}
OWNED = {
    *("RTX 2080 Ti", "RTX 3060 8 GB", "RTX 3060 12 GB", "RTX 3080", "RTX 3080 12 GB", "RTX 3080 Ti"),
    *("RTX 3090", "RTX 3090 Ti", "RTX 4060", "RTX 4060 Ti 8 GB", "RTX 4060 Ti 16 GB", "RTX 4070"),
    *("RTX 4070 SUPER", "RTX 4070 Ti", "RTX 4070 Ti SUPER", "RTX 4080", "RTX 4080 SUPER", "RTX 4090"),
    *("RTX 5050", "RTX 5060", "RTX 5060 Ti 8 GB", "RTX 5060 Ti 16 GB", "RTX 5070", "RTX 5070 Ti", "RTX 5080"),
    *("RTX 5090", "RTX 4050 Laptop", "RTX 4060 Laptop", "RTX 4070 Laptop", "RTX 5060 Laptop"),
    *("RTX 5070 Laptop", "RTX 5080 Laptop", "RTX 5090 Laptop", "V100 16 GB", "V100 32 GB", "P100", "T4"),
    *("A2", "A10", "A10G", "A16", "A30", "A40", "A100 40 GB", "A100 80 GB", "RTX A2000 6 GB", "RTX A4000"),
    *("RTX A5000", "RTX A6000", "RTX 4000 Ada", "RTX 5000 Ada", "RTX 6000 Ada", "RTX PRO 4000 Blackwell"),
    *("RTX PRO 5000 Blackwell", "RTX PRO 6000 Blackwell", "L4", "L40", "L40S", "H100 80 GB", "H100 NVL"),
    *("H100 PCIe", "H200", "GH200 96 GB", "B100", "B200", "GB200", "B300", "Jetson Orin Nano 8 GB"),
    *("Jetson Orin NX 16 GB", "Jetson Orin 32 GB", "Jetson AGX Orin 64 GB", "Jetson AGX Thor", "DGX Spark"),
    *("MI210", "MI250X", "MI300X", "MI325X", "MI355X", "Radeon RX 7900 XTX", "Arc A770"),
}
NVIDIAS = tuple(gpu for gpu in all_gpus() if gpu.vendor == NVIDIA)
SHARED_KIB = {
    (6, 0): 48,
    (6, 1): 48,
    (7, 0): 96,
    (7, 5): 64,
    (8, 0): 163,
    (8, 6): 99,
    (8, 7): 163,
    (8, 9): 99,
}

every_gpu = pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
every_nvidia = pytest.mark.parametrize("gpu", NVIDIAS, ids=lambda gpu: gpu.name)


def test_the_catalogue_has_the_gpus_that_people_own():
    """More than ninety, each name once, laptops apart."""
    names = [gpu.name for gpu in all_gpus()]
    assert set() == OWNED - set(names)
    assert 90 <= len(names) == len(set(names))


@every_gpu
def test_every_figure_has_a_source(gpu):
    """No figure without a source, no source without a figure."""
    figures = {f.name for f in fields(Gpu)} - NOT_FIGURES
    given = {name for name in figures if getattr(gpu, name) is not None}
    assert given == set(gpu.sources)
    assert all(gpu.sources.values())


@every_gpu
def test_capacities_and_contexts_are_of_a_plausible_size(gpu):
    """A unit that slipped would be off by a thousand."""
    assert 3 * GIB < gpu.capacity_bytes < 300 * GIB
    assert 250 * MIB <= gpu.context_bytes <= 850 * MIB  # measured on an H100: 764 MiB


@every_nvidia
def test_figures_are_of_a_plausible_size(gpu):
    """A unit that slipped would be off by a thousand."""
    assert 5e10 < gpu.memory_bandwidth_bytes_per_s < 1e13
    assert 9e11 < gpu.fp32_flops < 2e14
    assert 4 <= gpu.multiprocessors <= 192
    assert 7e8 < gpu.clock_hz < 3e9
    assert 1 * MIB <= gpu.l2_bytes <= 128 * MIB
    assert 20 <= gpu.power_watts <= 1400


@every_nvidia
def test_fp32_is_two_operations_of_each_core_in_each_cycle(gpu):
    """64 cores a multiprocessor on compute capability 6.0, 7.x and 8.0, 128 on all others."""
    few = gpu.compute_capability in {(6, 0), (7, 0), (7, 5), (8, 0)}
    expected = 2 * (64 if few else 128) * gpu.multiprocessors * gpu.clock_hz
    assert expected == pytest.approx(gpu.fp32_flops, rel=0.13)  # data sheets take a clock of their own


@every_nvidia
def test_shared_memory_is_that_of_the_compute_capability(gpu):
    """From 9.0 on 227 KiB, on the RTX cards of Blackwell 99."""
    newer = 99 if gpu.compute_capability >= (12, 0) else 227
    assert SHARED_KIB.get(gpu.compute_capability, newer) * KIB == gpu.shared_memory_bytes


@every_nvidia
def test_cudnn_is_told_the_clocks_where_its_answers_depend_on_them(gpu):
    """On 7.5 and 9.0; the multiprocessors' clock is known of every card."""
    if gpu.compute_capability in {(7, 5), (9, 0)}:
        assert gpu.memory_clock_hz is not None


@every_nvidia
def test_tensor_cores_are_at_least_as_fast_as_the_ordinary_ones(gpu):
    """Dense rates obey fp32 <= tf32 <= bf16 = fp16 where they exist; before Ampere there is fp16 at most."""
    if gpu.compute_capability == (6, 1):  # fp16 at a 64th of fp32: nobody computes in it
        assert (None, None, None) == (gpu.tf32_flops, gpu.bf16_flops, gpu.fp16_flops)
        return
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


def test_a_capacity_that_nobody_printed_says_so():
    """That of an RTX 5070 is an estimate; that of an RTX 3080 has been printed since."""
    assert (True, False) == tuple(
        find_gpu(name).is_estimate("capacity_bytes") for name in ("RTX 5070", "RTX 3080")
    )


@pytest.mark.parametrize("gpu", [gpu for gpu in all_gpus() if gpu.vendor != NVIDIA], ids=lambda gpu: gpu.name)
def test_of_other_vendors_the_capacity_alone_is_known(gpu):
    """And an answer says so."""
    assert (None, None, None) == (gpu.multiprocessors, gpu.fp32_flops, gpu.memory_bandwidth_bytes_per_s)
    (note,) = builtin_catalogue().notes(gpu)
    assert note.startswith(f"only the capacity of the {gpu.name} is known, as {gpu.vendor} makes it")


@pytest.mark.parametrize(
    ("name", "taken", "other"),
    [
        ("RTX 3060", "RTX 3060 12 GB", "RTX 3060 8 GB"),
        ("RTX 5060 Ti", "RTX 5060 Ti 16 GB", "RTX 5060 Ti 8 GB"),
        ("RTX 4060 Ti", "RTX 4060 Ti 8 GB", "RTX 4060 Ti 16 GB"),
        ("RTX 3080", "RTX 3080", "RTX 3080 12 GB"),
        ("A100", "A100 40 GB", "A100 80 GB"),
        ("Jetson AGX Orin", "Jetson Orin 32 GB", "Jetson AGX Orin 64 GB"),
    ],
)
def test_of_two_cards_of_one_name_it_is_said_which_was_taken(name, taken, other):
    """The bare name is an alias of one of them."""
    gpu = find_gpu(name)
    expected = f"more than one card has this name: the {taken} was taken, not the {other}"
    assert (taken, (expected,)) == (gpu.name, builtin_catalogue().notes(gpu))


def test_nothing_is_said_of_a_card_that_stands_alone():
    """Nor of one that differs in more than its memory."""
    assert () == builtin_catalogue().notes(find_gpu("RTX 4090"))
    assert () == builtin_catalogue().notes(find_gpu("H100 PCIe"))


def test_a_card_before_cuda_13_needs_another_build_of_pytorch():
    """A T4 is the oldest that does not."""
    (said,) = builtin_catalogue().notes(find_gpu("P100"))
    assert "compute capability 6.0, for which PyTorch's builds for CUDA 13 have no kernels" in said
    assert () == builtin_catalogue().notes(find_gpu("T4"))


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
