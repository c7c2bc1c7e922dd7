"""The device of a run: which GPU, and what of its memory the run can have.

`find_device` turns what was asked (a name, a capacity, or the GPU of this machine) into one. Nothing here
asks a GPU: what is in this machine is handed in as `LocalGpu`s, which `measuring.nvml` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actprof.errors import UsageError
from actprof.hardware.catalogue import Catalogue, custom_gpu
from actprof.hardware.gpu import Gpu
from actprof.results import GpuUse

# PyTorch counts less memory than NVML: by 0.6 % (H100) to 3.5 % (RTX 4070) on the cards of the catalogue.
# A card that is not in it is taken at the lower end.
_TORCH_SHARE = 0.96
# Cards of one name come in several sizes (RTX 5060 Ti with 8 and 16 GB). NVML's total over PyTorch's: a card
# of the catalogue is 1.006 to 1.036, with error correction switched off up to 1.1.
_SAME_CARD = (0.98, 1.12)
_UNKNOWN_CAPABILITY = (0, 0)


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU of a run, with the capacity that it finds there, and what others hold of its memory.

    `notes` say in sentences what to know of an answer about that GPU.
    """

    gpu: Gpu
    used_by_others_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def use(self) -> GpuUse:
        """Its name, memory and CUDA context, as results keep them."""
        gpu = self.gpu
        return GpuUse(
            name=gpu.name,
            capacity_bytes=gpu.capacity_bytes,
            context_bytes=gpu.context_bytes,
            notes=self.notes,
        )

    @property
    def available_bytes(self) -> int:
        """What is left for PyTorch's segments."""
        return self.use.available_bytes(self.used_by_others_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGpu:
    """One GPU of this machine; sizes are bytes.

    Attributes:
        index: NVML's, which is PCI order.
        name: the product's name.
        total_bytes: NVML's figure, a little above what torch reports as `total_memory`.
        used_bytes, free_bytes: at the moment of asking, over all processes.
        driver: version of the driver.
        uuid: `GPU-…`, as `CUDA_VISIBLE_DEVICES` takes it; empty when the driver does not say.
        compute_capability: (major, minor); (0, 0) when the driver does not say.
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    driver: str
    uuid: str = ""
    compute_capability: tuple[int, int] = _UNKNOWN_CAPABILITY

    def identify(self, catalogue: Catalogue) -> Gpu | None:
        """Return its entry in the catalogue, None where it has none.

        A name alone is not enough: its memory must be that of the entry, or of another card of that name.
        """
        try:
            known = catalogue.find(self.name)
        except UsageError:
            return None
        return next((card for card in (known, *catalogue.alike(known)) if self._is_as_large_as(card)), None)

    def _is_as_large_as(self, card: Gpu) -> bool:
        low, high = _SAME_CARD
        return low * card.capacity_bytes <= self.total_bytes <= high * card.capacity_bytes

    def as_card(self, catalogue: Catalogue) -> Gpu:
        """Return the card as PyTorch counts its memory, with the capability that the driver told."""
        told = self.compute_capability
        known = self.identify(catalogue)
        card = known or replace(custom_gpu(int(_TORCH_SHARE * self.total_bytes)), name=self.short_name)
        return card if told == _UNKNOWN_CAPABILITY else replace(card, compute_capability=told)

    @property
    def short_name(self) -> str:
        """The product's name without the brand."""
        return self.name.removeprefix("NVIDIA ")


def find_device(
    gpu: str | None,
    capacity_bytes: int | None,
    used_by_others_bytes: int = 0,
    *,
    catalogue: Catalogue,
    here: Sequence[LocalGpu] | None = None,
) -> Device:
    """Return the device of a run.

    Args:
        gpu: a card of the catalogue, as the user names it.
        capacity_bytes: its memory; alone, it stands for a card of which nothing else is known.
        used_by_others_bytes: what other processes hold.
        catalogue: where cards are described.
        here: the GPUs of this machine that the run takes, of which the fullest decides where nothing is
            named; what is in use of it now is others'. None: this machine is not meant.

    Raises:
        UsageError: nothing says which GPU, or one that nobody knows.
    """
    if gpu is not None:
        card = catalogue.find(gpu)
        notes = catalogue.notes(card)
        card = card if capacity_bytes is None else replace(card, capacity_bytes=capacity_bytes)
        return Device(card, used_by_others_bytes, notes)
    if capacity_bytes is not None:
        return Device(custom_gpu(capacity_bytes), used_by_others_bytes)
    if here is None:
        raise UsageError("name a GPU (see `actprof gpus`), or give its capacity, like 23.69GiB")
    if not here:
        raise UsageError(
            "there is no NVIDIA GPU here; name the one that the run is for, like --gpu 'RTX 3090' "
            "(`actprof gpus` lists them), or give its memory, like --capacity 23.69GiB"
        )
    fullest = min(here, key=lambda local: local.free_bytes)
    card = fullest.as_card(catalogue)
    in_use = max(card.capacity_bytes - fullest.free_bytes, 0)
    return Device(card, used_by_others_bytes or in_use)


def visible_gpus(gpus: Sequence[LocalGpu], setting: str | None) -> tuple[LocalGpu, ...]:
    """Return the GPUs that CUDA shows to a process under `CUDA_VISIBLE_DEVICES`, in its order.

    None shows all; else it has indices, or beginnings of UUIDs. The first that names none ends the list, one
    named twice empties it (torch/cuda/__init__.py, `_parse_visible_devices`). Indices are taken in PCI
    order, which is CUDA's with `CUDA_DEVICE_ORDER=PCI_BUS_ID` or equal cards.
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


def _names(entry: str, gpu: LocalGpu) -> bool:
    if entry.isdecimal():
        return int(entry) == gpu.index
    return entry.startswith("GPU-") and gpu.uuid.startswith(entry)
