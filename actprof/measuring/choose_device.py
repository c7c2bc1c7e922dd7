"""Which device of this machine can run a cell for real, and how it is held to the cell's card. Pure logic.

A card runs a cell when it is the cell's card, or when it has at least that card's memory; the larger one then
plays the smaller: PyTorch may reserve no more, and cuBLAS takes the workspace that it takes there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import Catalogue, Device, Gpu, LocalGpu, cublas_workspace_bytes
from actprof.hardware.workspaces import DEFAULT_CUBLAS_BYTES, LARGE_CUBLAS_BYTES
from actprof.prediction.predict import device_of
from actprof.units import format_bytes
from actprof.versions import torch_version

# Less free memory than this share of what the cell may use is worth a word.
_NOTICEABLE = 0.03

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

    @property
    def shown(self) -> dict[str, str]:
        """The variables that show CUDA this device alone."""
        if self.gpu is None:
            return {"CUDA_VISIBLE_DEVICES": ""}
        place = self.gpu.uuid or str(self.gpu.index)
        return {"CUDA_VISIBLE_DEVICES": place, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # NVML's, for an index


def choose_gpu(
    cell: Cell, gpus: Sequence[LocalGpu], catalogue: Catalogue, *, device: str | None = None
) -> Choice:
    """Return the device that runs `cell`: its own card before others, then the one with most free memory.

    Args:
        cell: one without GPU and capacity asks for the card that is here, as it is.
        gpus: those that may be used, in PyTorch's order (see `usable_gpus`).
        catalogue: knows the cell's card.
        device: `cpu`, `cuda`, `cuda:N` (position in `gpus`), or None: the CPU where no GPU can run the cell.

    Raises:
        UsageError: `device` is none of these, is not there, or cannot run the cell; or nobody knows the
            cell's GPU.
    """
    if device == "cpu":
        return Choice(type="cpu", reason="the CPU, as asked")
    wanted = device_of(cell, catalogue) if cell.gpu or cell.capacity_bytes else None
    here = [_Local(gpu, gpu.identify(catalogue), gpu.as_card(catalogue)) for gpu in _asked(device, gpus)]
    able = [local for local in here if local.runs(cell, wanted)]
    if able:
        # `min` keeps the first of equals, which is PyTorch's default.
        best = min(able, key=lambda local: (not local.is_card(wanted), -local.gpu.free_bytes))
        return _choice(cell, wanted, best)
    why = _why_not(cell, wanted, here)
    if device is not None:
        raise UsageError(
            f"device {device!r} cannot run this cell: {why}; leave the device out, or take 'cpu'"
        )
    return Choice(type="cpu", reason=why)


@dataclass(frozen=True, slots=True)
class _Local:
    """A GPU of this machine, its entry in the catalogue if it has one, and the card as PyTorch counts it."""

    gpu: LocalGpu
    known: Gpu | None
    card: Gpu

    @property
    def place(self) -> str:
        return f"the {self.card.name} here (GPU {self.gpu.index})"

    def is_card(self, wanted: Device | None) -> bool:
        return wanted is not None and self.known is not None and self.known.name == wanted.gpu.name

    def runs(self, cell: Cell, wanted: Device | None) -> bool:
        if wanted is None or (cell.capacity_bytes is None and self.is_card(wanted)):
            return True
        return self.card.capacity_bytes >= wanted.gpu.capacity_bytes


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


def _choice(cell: Cell, wanted: Device | None, local: _Local) -> Choice:
    held_to = wanted or Device(local.card, cell.used_by_others_bytes)
    own = wanted is None or local.is_card(wanted)
    whole = cell.capacity_bytes is None and not cell.used_by_others_bytes
    cap = None if own and whole else held_to.available_bytes
    return Choice(
        type="cuda",
        gpu=local.gpu,
        cap_bytes=cap,
        plays="" if own else held_to.gpu.name,
        workspace_config="" if own else _workspace_config(held_to.gpu, local),
        reason=_reason(local, wanted, cap) + _shortage(local, held_to),
    )


def _workspace_config(played: Gpu, local: _Local) -> str:
    """Return the setting that gives the played card's workspace, if the local one's differs or is unknown."""
    wanted = cublas_workspace_bytes(played, torch_version())
    told = local.known is not None or local.gpu.compute_capability != (0, 0)
    if told and cublas_workspace_bytes(local.card, torch_version()) == wanted:
        return ""
    return WORKSPACE_CONFIGS[wanted]


def _reason(local: _Local, wanted: Device | None, cap: int | None) -> str:
    held = "" if cap is None else f", with {format_bytes(cap)} for PyTorch"
    if wanted is None:
        return f"{local.place}, as it is{held}"
    if local.is_card(wanted):
        return f"{local.place} is the cell's own{held}"
    return f"{local.place} plays the {wanted.gpu.name}{held}"


def _shortage(local: _Local, held_to: Device) -> str:
    room = held_to.gpu.capacity_bytes - held_to.used_by_others_bytes
    free = local.gpu.free_bytes
    if free >= (1 - _NOTICEABLE) * room:
        return ""
    return f"; only {format_bytes(free)} of it is free now, so it may run out earlier"


def _why_not(cell: Cell, wanted: Device | None, here: Sequence[_Local]) -> str:
    if not here or wanted is None:
        return "no NVIDIA GPU here"
    largest = max(here, key=lambda local: local.card.capacity_bytes)
    name = largest.card.name
    has = f"{'' if largest.known else 'about '}{format_bytes(largest.card.capacity_bytes)}"
    needed = format_bytes(wanted.gpu.capacity_bytes)
    whose = f"the {wanted.gpu.name}'s {needed}"
    needed = whose if cell.capacity_bytes is None else f"the {needed} that the cell asks for"
    if len(here) == 1:
        return f"the {name} here has {has}, less than {needed}"
    return f"the largest of {len(here)} GPUs here, the {name}, has {has}, less than {needed}"


def on_this_card(cell: Cell, choice: Choice, catalogue: Catalogue) -> Cell:
    """Return the cell with the card that was chosen for it, where it asked for none in particular."""
    if choice.gpu is None or cell.gpu is not None or cell.capacity_bytes is not None:
        return cell
    known = choice.gpu.identify(catalogue)
    if known is not None:
        return replace(cell, gpu=known.name)
    return replace(cell, capacity_bytes=choice.gpu.as_card(catalogue).capacity_bytes)
