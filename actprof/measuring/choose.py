"""Which device of this machine can run a cell for real, and how it is held to the cell's card. Pure logic.

A card runs a cell when it is the cell's card, or when it has at least that card's memory; the larger one then
plays the smaller: PyTorch may reserve no more, and cuBLAS takes the workspace that it takes there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import Catalogue, Gpu, cublas_workspace_bytes, custom_gpu
from actprof.hardware.workspaces import DEFAULT_CUBLAS_BYTES, LARGE_CUBLAS_BYTES
from actprof.measuring.nvml import LocalGpu, local_gpus
from actprof.units import format_bytes
from actprof.versions import torch_version

# PyTorch counts less memory than NVML: by 0.6 % (H100) to 3.5 % (RTX 4070) on the cards of the catalogue.
# A card that is not in it is taken at the lower end.
TORCH_SHARE = 0.96
# Cards of one name come in several sizes (RTX 5060 Ti with 8 and 16 GB). NVML's total over PyTorch's: a card
# of the catalogue is 1.006 to 1.036, with error correction switched off up to 1.1.
SAME_CARD = (0.98, 1.12)
# Less free memory than this share of what the cell may use is worth a word.
NOTICEABLE = 0.03

WORKSPACE_CONFIGS = {DEFAULT_CUBLAS_BYTES: ":4096:2:16:8", LARGE_CUBLAS_BYTES: ":4096:8"}

_DEVICE = re.compile(r"cuda(?::(?P<position>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A device for one cell.

    Attributes:
        type: `cuda` or `cpu`.
        gpu: the GPU; None on the CPU.
        cap_bytes: what PyTorch may reserve so that the GPU is as large as the cell's card less its CUDA
            context and what others hold; None where the GPU is the cell's card as it is.
        plays: name of the card that it plays; empty where it is the cell's card, or none is asked.
        workspace_config: a `CUBLAS_WORKSPACE_CONFIG` that gives the played card's workspace; empty where
            the GPU takes the same by itself.
        reason: which device and why, for the user; no full stop.
    """

    type: Literal["cuda", "cpu"]
    gpu: LocalGpu | None = None
    cap_bytes: int | None = None
    plays: str = ""
    workspace_config: str = ""
    reason: str


def choose_gpu(
    cell: Cell, gpus: Sequence[LocalGpu], catalogue: Catalogue, *, device: str | None = None
) -> Choice:
    """Return the device that runs `cell`: its own card before others, then the one with most free memory.

    Args:
        cell: one without GPU and capacity asks for the card that is here, as it is.
        gpus: those that may be used, in PyTorch's order (see `visible_gpus`).
        catalogue: knows the cell's card.
        device: `cpu`, `cuda`, `cuda:N` (position in `gpus`), or None: the CPU where no GPU can run the cell.

    Raises:
        UsageError: `device` is none of these, is not there, or cannot run the cell; or nobody knows the
            cell's GPU.
    """
    if device == "cpu":
        return Choice(type="cpu", reason="the CPU, as asked")
    card = _card_of(cell, catalogue)
    here = [_Local(gpu, identify(gpu, catalogue)) for gpu in _asked(device, gpus)]
    able = [local for local in here if local.runs(cell, card)]
    if able:
        # `min` keeps the first of equals, which is PyTorch's default.
        best = min(able, key=lambda local: (not local.is_card(card), -local.gpu.free_bytes))
        return _choice(cell, card, best)
    why = _why_not(cell, card, here)
    if device is not None:
        raise UsageError(
            f"device {device!r} cannot run this cell: {why}; leave the device out, or take 'cpu'"
        )
    return Choice(type="cpu", reason=why)


def qualifies(cell: Cell, gpus: Sequence[LocalGpu], catalogue: Catalogue) -> bool:
    """Tell whether one of `gpus` can run `cell` for real.

    Raises:
        UsageError: nobody knows the cell's GPU.
    """
    card = _card_of(cell, catalogue)
    return any(_Local(gpu, identify(gpu, catalogue)).runs(cell, card) for gpu in gpus)


def visible_gpus(gpus: Sequence[LocalGpu], setting: str | None) -> tuple[LocalGpu, ...]:
    """Return the GPUs that CUDA shows to a process, in its order.

    Args:
        gpus: all of the machine.
        setting: `CUDA_VISIBLE_DEVICES`: indices, or beginnings of UUIDs. The first that names none ends the
            list, one named twice empties it (torch/cuda/__init__.py, `_parse_visible_devices`); None shows
            all. Indices are taken in PCI order, which is CUDA's with `CUDA_DEVICE_ORDER=PCI_BUS_ID` or
            equal cards.
    """
    if setting is None:
        return tuple(gpus)
    shown: list[LocalGpu] = []
    for entry in setting.split(","):
        named = [gpu for gpu in gpus if _names(entry.strip(), gpu)]
        if len(named) != 1:
            break
        if named[0] in shown:
            return ()
        shown += named
    return tuple(shown)


def usable_gpus() -> tuple[LocalGpu, ...]:
    """Return this machine's GPUs that `CUDA_VISIBLE_DEVICES` shows: a GPU that the user hid is not ours."""
    return visible_gpus(local_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def identify(gpu: LocalGpu, catalogue: Catalogue) -> Gpu | None:
    """Return a local GPU's entry in the catalogue, None where it has none.

    A name alone is not enough: its memory must be that of the entry.
    """
    try:
        known = catalogue.find(gpu.name)
    except UsageError:
        return None
    low, high = SAME_CARD
    same = low * known.capacity_bytes <= gpu.total_bytes <= high * known.capacity_bytes
    return known if same else None


def _names(entry: str, gpu: LocalGpu) -> bool:
    if entry.isdecimal():
        return int(entry) == gpu.index
    return entry.startswith("GPU-") and gpu.uuid.startswith(entry)


@dataclass(frozen=True, slots=True)
class _Local:
    """A GPU of this machine and its entry in the catalogue, if it has one."""

    gpu: LocalGpu
    known: Gpu | None

    @property
    def as_gpu(self) -> Gpu:
        """The card as PyTorch counts its memory, with the capability that the driver told."""
        card = self.known or custom_gpu(int(TORCH_SHARE * self.gpu.total_bytes))
        told = self.gpu.compute_capability
        return replace(card, compute_capability=told) if told != (0, 0) else card

    @property
    def name(self) -> str:
        return self.known.name if self.known else self.gpu.name.removeprefix("NVIDIA ")

    @property
    def place(self) -> str:
        return f"the {self.name} here (GPU {self.gpu.index})"

    def is_card(self, card: Gpu | None) -> bool:
        return card is not None and self.known is not None and self.known.name == card.name

    def runs(self, cell: Cell, card: Gpu | None) -> bool:
        if card is None or (cell.capacity_bytes is None and self.is_card(card)):
            return True
        return self.as_gpu.capacity_bytes >= (cell.capacity_bytes or card.capacity_bytes)


def _card_of(cell: Cell, catalogue: Catalogue) -> Gpu | None:
    """Return the card that the cell asks for; None: whatever is here."""
    if cell.gpu is not None:
        return catalogue.find(cell.gpu)
    return None if cell.capacity_bytes is None else custom_gpu(cell.capacity_bytes)


def _asked(device: str | None, gpus: Sequence[LocalGpu]) -> Sequence[LocalGpu]:
    if device is None:
        return gpus
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise UsageError(f"{device!r} is not a device; write cpu, cuda or cuda:N")
    if match["position"] is None:
        return gpus
    position = int(match["position"])
    if position >= len(gpus):
        there = {0: "no NVIDIA GPU here", 1: "only cuda:0 here"}.get(
            len(gpus), f"cuda:0 to cuda:{len(gpus) - 1} here"
        )
        raise UsageError(f"there is no {device}: {there}; leave the device out, or take 'cpu'")
    return [gpus[position]]


def _choice(cell: Cell, card: Gpu | None, local: _Local) -> Choice:
    held_to = card or local.as_gpu
    whole = cell.capacity_bytes is None and not cell.used_by_others_bytes
    own = card is None or local.is_card(card)
    room = (cell.capacity_bytes or held_to.capacity_bytes) - cell.used_by_others_bytes
    cap = None if own and whole else max(room - held_to.context_bytes, 0)
    return Choice(
        type="cuda",
        gpu=local.gpu,
        cap_bytes=cap,
        plays="" if own else held_to.name,
        workspace_config="" if own else _workspace_config(held_to, local),
        reason=_reason(local, card, cap) + _shortage(local, room),
    )


def _workspace_config(played: Gpu, local: _Local) -> str:
    """Return the setting that gives the played card's workspace, if the local one's differs or is unknown."""
    wanted = cublas_workspace_bytes(played, torch_version())
    told = local.known is not None or local.gpu.compute_capability != (0, 0)
    if told and cublas_workspace_bytes(local.as_gpu, torch_version()) == wanted:
        return ""
    return WORKSPACE_CONFIGS[wanted]


def _reason(local: _Local, card: Gpu | None, cap: int | None) -> str:
    held = "" if cap is None else f", with {format_bytes(cap)} for PyTorch"
    if card is None:
        return f"{local.place}, as it is{held}"
    if local.is_card(card):
        return f"{local.place} is the cell's own{held}"
    return f"{local.place} plays the {card.name}{held}"


def _shortage(local: _Local, room: int) -> str:
    free = local.gpu.free_bytes
    if free >= (1 - NOTICEABLE) * room:
        return ""
    return f"; only {format_bytes(free)} of it is free now, so it may run out earlier"


def _why_not(cell: Cell, card: Gpu | None, here: Sequence[_Local]) -> str:
    if not here or card is None:
        return "no NVIDIA GPU here"
    largest = max(here, key=lambda local: local.as_gpu.capacity_bytes)
    has = f"{'' if largest.known else 'about '}{format_bytes(largest.as_gpu.capacity_bytes)}"
    if cell.capacity_bytes is None:
        needed = f"the {card.name}'s {format_bytes(card.capacity_bytes)}"
    else:
        needed = f"the {format_bytes(cell.capacity_bytes)} that the cell asks for"
    if len(here) == 1:
        return f"the {largest.name} here has {has}, less than {needed}"
    return f"the largest of {len(here)} GPUs here, the {largest.name}, has {has}, less than {needed}"
