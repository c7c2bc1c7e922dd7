"""Which device runs a cell, and how it is held to the cell's card."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import LocalGpu, builtin_catalogue, cublas_workspace_bytes
from actprof.hardware.device import visible_gpus
from actprof.hardware.workspaces import parse_workspace_config
from actprof.measuring.choose_device import WORKSPACE_CONFIGS, choose_gpu
from actprof.measuring.nvml import usable_gpus
from actprof.units import GIB, MIB

CATALOGUE = builtin_catalogue()


def local(index, name, total_mib, *, used_mib=0, capability=(8, 6)):
    """Return a GPU with NVML's figures."""
    return LocalGpu(
        index=index,
        name=name,
        total_bytes=total_mib * MIB,
        used_bytes=used_mib * MIB,
        free_bytes=(total_mib - used_mib) * MIB,
        driver="595.84",
        uuid=f"GPU-{index}abc",
        compute_capability=capability,
    )


RTX_3060 = local(0, "NVIDIA GeForce RTX 3060", 12288)
RTX_3090 = local(0, "NVIDIA GeForce RTX 3090", 24576)
RTX_4090 = local(0, "NVIDIA GeForce RTX 4090", 24564, capability=(8, 9))
H100 = local(0, "NVIDIA H100 80GB HBM3", 81559, capability=(9, 0))
A6000 = local(0, "NVIDIA RTX A6000", 49140)


def choose(cell, *gpus, device=None):
    """Choose among GPUs, numbered in their order."""
    numbered = [replace(gpu, index=index) for index, gpu in enumerate(gpus)]
    return choose_gpu(cell, numbered, CATALOGUE, device=device)


def test_the_cells_own_card_runs_it_as_it_is():
    """No cap, nothing played, no setting."""
    choice = choose(Cell(gpu="RTX 3090"), RTX_3090)

    assert ("cuda", 0, None, "", "") == (
        choice.type, choice.gpu.index, choice.cap_bytes, choice.plays, choice.workspace_config
    )  # fmt: skip
    assert "the RTX 3090 here (GPU 0) is the cell's own" == choice.reason


def test_a_larger_card_plays_the_cells():
    """PyTorch may reserve the card's capacity less its context; the workspace is the played card's."""
    choice = choose(Cell(gpu="RTX 3090"), H100)
    card = CATALOGUE.find("RTX 3090")

    assert card.capacity_bytes - card.context_bytes == choice.cap_bytes
    assert ("RTX 3090", ":4096:2:16:8") == (choice.plays, choice.workspace_config)
    assert "the H100 80 GB here (GPU 0) plays the RTX 3090, with 23.24 GiB for PyTorch" == choice.reason


def test_the_workspace_of_hopper_is_played_too():
    """A B200 takes the small workspace with torch 2.11, the H100 the large one."""
    b200 = local(0, "NVIDIA B200", 183359, capability=(10, 0))

    assert ":4096:8" == choose(Cell(gpu="H100"), b200).workspace_config
    assert "" == choose(Cell(gpu="RTX 3090"), A6000).workspace_config


def test_a_card_of_unknown_architecture_is_told_its_workspace():
    """Where neither driver nor catalogue know the capability, the setting stands for both sizes."""
    unknown = local(0, "NVIDIA Prototype", 49140, capability=(0, 0))

    assert ":4096:2:16:8" == choose(Cell(gpu="RTX 3090"), unknown).workspace_config


@pytest.mark.parametrize(("size", "config"), WORKSPACE_CONFIGS.items())
def test_each_setting_has_the_size_that_it_stands_for(size, config):
    """PyTorch's rule for `CUBLAS_WORKSPACE_CONFIG` gives the bytes back."""
    assert size == parse_workspace_config(config)


def test_every_card_of_the_catalogue_has_a_setting():
    """No card takes a workspace that no setting gives."""
    sizes = {cublas_workspace_bytes(gpu, version) for gpu in CATALOGUE.gpus for version in ((2, 11), (2, 12))}

    assert set() == sizes - WORKSPACE_CONFIGS.keys()


def test_what_others_hold_and_a_smaller_capacity_cap_the_cells_own_card():
    """The cell's figures hold on the card itself, and it plays none."""
    context = CATALOGUE.find("RTX 3090").context_bytes
    others = choose(Cell(gpu="RTX 3090", used_by_others_bytes=2 * GIB), RTX_3090)
    smaller = choose(Cell(gpu="RTX 3090", capacity_bytes=20 * GIB), RTX_3090)

    assert CATALOGUE.find("RTX 3090").capacity_bytes - context - 2 * GIB == others.cap_bytes
    assert (20 * GIB - context, "") == (smaller.cap_bytes, smaller.plays)
    assert "the RTX 3090 here (GPU 0) is the cell's own, with 19.55 GiB for PyTorch" == smaller.reason


def test_a_capacity_alone_is_played():
    """As in a prediction: a card of which only the memory is known, with a cautious context."""
    choice = choose(Cell(gpu=None, capacity_bytes=20 * GIB), H100)

    assert (20 * GIB - 850 * MIB, "20.00 GiB GPU") == (choice.cap_bytes, choice.plays)


def test_a_cell_without_card_takes_what_is_here():
    """As it is; what others hold is taken off."""
    cell = Cell(gpu=None)
    choice = choose(cell, RTX_3060)

    assert ("cuda", None, "", "") == (choice.type, choice.cap_bytes, choice.plays, choice.workspace_config)
    assert "the RTX 3060 12 GB here (GPU 0), as it is" == choice.reason
    card = CATALOGUE.find("RTX 3060")
    assert (
        card.capacity_bytes - card.context_bytes - GIB
        == choose(replace(cell, used_by_others_bytes=GIB), RTX_3060).cap_bytes
    )


def test_no_cap_is_below_nothing():
    """A cell whose others hold more than the card has leaves PyTorch 0 bytes."""
    assert 0 == choose(Cell(gpu="RTX 3090", used_by_others_bytes=24 * GIB), RTX_3090).cap_bytes


def test_the_cells_own_card_comes_before_a_freer_one():
    """Then the card with the most free memory, then the first."""
    busy = replace(H100, free_bytes=30 * GIB)

    assert 1 == choose(Cell(gpu="RTX 3090"), H100, RTX_3090).gpu.index
    assert 1 == choose(Cell(gpu="RTX 3090"), busy, H100, H100).gpu.index


def test_a_card_that_others_use_is_told():
    """What is free now may be less than the cell's card has."""
    busy = local(0, "NVIDIA GeForce RTX 3090", 24576, used_mib=4096)

    assert (
        "the RTX 3090 here (GPU 0) is the cell's own; only 20.00 GiB of it is free now, so it may run out "
        "earlier" == choose(Cell(gpu="RTX 3090"), busy).reason
    )


@pytest.mark.parametrize(
    ("gpus", "reason"),
    [
        ([], "no NVIDIA GPU here"),
        ([RTX_3060], "the RTX 3060 12 GB here has 11.65 GiB, less than the RTX 3090's 23.69 GiB"),
        ([RTX_4090], "the RTX 4090 here has 23.64 GiB, less than the RTX 3090's 23.69 GiB"),
        (
            [RTX_3060, RTX_4090],
            "the largest of 2 GPUs here, the RTX 4090, has 23.64 GiB, less than the RTX 3090's 23.69 GiB",
        ),
        (
            [local(0, "NVIDIA Prototype", 24564)],
            "the Prototype here has about 23.03 GiB, less than the RTX 3090's 23.69 GiB",
        ),
    ],
    ids=["none", "too small", "a little too small", "two", "not in the catalogue"],
)
def test_without_a_card_that_can_it_is_the_cpu(gpus, reason):
    """The reason names the largest card that is here."""
    cell = Cell(gpu="RTX 3090")
    choice = choose(cell, *gpus)

    assert ("cpu", None, reason) == (choice.type, choice.gpu, choice.reason)


def test_more_memory_than_the_own_card_has_cannot_be_run_on_it():
    """A capacity is the cell's word, not the card's."""
    choice = choose(Cell(gpu="RTX 3090", capacity_bytes=30 * GIB), RTX_3090)

    assert "the RTX 3090 here has 23.69 GiB, less than the 30.00 GiB that the cell asks for" == choice.reason


def test_a_card_of_the_same_name_with_other_memory_is_another_card():
    """The 8 GB version of a card cannot stand for that with 16 GB; a third size is neither."""
    small = local(0, "NVIDIA GeForce RTX 5060 Ti", 8151, capability=(12, 0))
    large = local(0, "NVIDIA GeForce RTX 5060 Ti", 16311, capability=(12, 0))
    changed = local(0, "NVIDIA GeForce RTX 5060 Ti", 32768, capability=(12, 0))
    cell = Cell(gpu="RTX 5060 Ti 16 GB")

    assert "cpu" == choose(cell, small).type
    assert ("cuda", None) == (choose(cell, large).type, choose(cell, large).cap_bytes)
    assert ["RTX 5060 Ti 8 GB", "RTX 5060 Ti 16 GB", None] == [
        known and known.name for known in (card.identify(CATALOGUE) for card in (small, large, changed))
    ]


def test_a_card_that_can_run_the_cell_does():
    """Whichever of those that are here; a cell that asks for none takes any, if there is one."""
    assert "cuda" == choose(Cell(gpu="RTX 3090"), RTX_3060, H100).type
    assert "cuda" == choose(Cell(gpu=None), RTX_3060).type
    assert "cpu" == choose(Cell(gpu=None)).type


def test_the_device_can_be_asked_for():
    """`cuda:1` is the second of those that may be used, whichever is better; `cpu` needs no reason."""
    cell = Cell(gpu="RTX 3090")

    assert 1 == choose(cell, RTX_3090, H100, device="cuda:1").gpu.index
    assert 0 == choose(cell, RTX_3090, H100, device="cuda").gpu.index
    assert ("cpu", None) == (choose(cell, RTX_3090, device="cpu").type, choose(cell, device="cpu").gpu)


@pytest.mark.parametrize(
    ("device", "gpus", "words"),
    [
        ("cuda:1", [RTX_3090], "there is no cuda:1: only cuda:0 here"),
        ("cuda:2", [RTX_3090, RTX_3090], "there is no cuda:2: cuda:0 to cuda:1 here"),
        ("cuda:0", [], "there is no cuda:0: no NVIDIA GPU here"),
        ("cuda", [], "'cuda' cannot run this cell: no NVIDIA GPU here"),
        ("cuda:0", [RTX_3060, H100], "'cuda:0' cannot run this cell: the RTX 3060 12 GB here has 11.65 GiB"),
        ("gpu", [RTX_3090], "'gpu' is not a device; write cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused(device, gpus, words):
    """What was asked for is not replaced in silence."""
    with pytest.raises(UsageError, match=words):
        choose(Cell(gpu="RTX 3090"), *gpus, device=device)


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-1", [1]),
        ("1, GPU-2abc", [1, 2]),
        ("1,7,0", [1]),
        ("1,1", []),
        ("GPU-", []),
        ("MIG-1", []),
        ("-1", []),
    ],
)
def test_hidden_gpus_are_not_used(setting, shown):
    """`CUDA_VISIBLE_DEVICES` is read as CUDA reads it."""
    gpus = [replace(H100, index=index, uuid=f"GPU-{index}abc") for index in range(3)]

    assert shown == [gpu.index for gpu in visible_gpus(gpus, setting)]


def test_what_the_environment_hides_is_not_ours(monkeypatch):
    """The user's own `CUDA_VISIBLE_DEVICES` says which GPUs may be used."""
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", lambda: (RTX_3090, replace(H100, index=1)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")

    assert (replace(H100, index=1),) == usable_gpus()
