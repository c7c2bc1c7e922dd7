"""The catalogue of GPUs: those shipped in `gpus/*.toml`, and new catalogues that add a user's own cards.

A user's own stand in `gpus.toml` of the configuration folder (`own_gpus`) or under `gpus:` of a scenario;
they come before the shipped ones. How names match is `actprof.hardware.names`'s.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Self

from actprof.errors import UsageError
from actprof.hardware.entries import CAUTIOUS_CONTEXT_BYTES, GENERIC_COMPUTE_CAPABILITY, gpu_from_entry
from actprof.hardware.gpu import NVIDIA, Gpu
from actprof.hardware.machines import gpu_of_machine
from actprof.hardware.names import bare_keys, match_name, unknown_gpu
from actprof.hardware.own_gpus import own_entries, own_file, shown_path
from actprof.units import format_bytes

# One file each, in the order in which the cards are listed.
_FILES = (
    "pascal_volta", "turing", "ampere", "ampere_pro", "ada", "ada_pro", "hopper", "blackwell",
    "blackwell_pro", "jetson", "amd", "intel",
)  # fmt: skip
_CUDA_13 = (7, 5)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """GPUs with distinct names, in the order of their files, and the names of those that a user added."""

    gpus: tuple[Gpu, ...]
    own: frozenset[str] = frozenset()

    def find(self, name: str) -> Gpu:
        """Return the GPU that `name` means, loosely (`3090`, `NVIDIA A100-SXM4-80GB`, `g5.xlarge`).

        Raises:
            UsageError: the name is unknown (says the nearest) or ambiguous (says all that fit).
        """
        exact = [gpu for gpu in self.gpus if gpu.name == name]
        own = [gpu for gpu in self.gpus if gpu.name in self.own]
        found = exact or match_name(name, own) or match_name(name, self.gpus)
        if not found and (inside := gpu_of_machine(name)):
            return self.find(inside)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"GPU {name!r} is ambiguous; write {' or '.join(gpu.name for gpu in found)}")
        raise unknown_gpu(name, self.gpus, own_file=shown_path(own_file()))

    @property
    def cuda(self) -> tuple[Gpu, ...]:
        """Those that run CUDA."""
        return tuple(gpu for gpu in self.gpus if gpu.vendor == NVIDIA)

    def alike(self, gpu: Gpu) -> tuple[Gpu, ...]:
        """Return the other cards that have its name but for the size of the memory."""
        bare = bare_keys(gpu)
        return tuple(other for other in self.gpus if other.name != gpu.name and bare & bare_keys(other))

    def notes(self, gpu: Gpu) -> tuple[str, ...]:
        """Return what to know of an answer about `gpu`, in sentences: who shares its name, what it lacks."""
        others = " or ".join(other.name for other in self.alike(gpu))
        major, minor = gpu.compute_capability
        said = {
            f"more than one card has this name: the {gpu.name} was taken, not the {others}": bool(others),
            f"only the capacity of the {gpu.name} is known, as {gpu.vendor} makes it: no CUDA context, no "
            "cuDNN or cuBLAS, no speed; what an NVIDIA GPU of its size takes stands in": gpu.vendor != NVIDIA,
            f"the {gpu.name} has compute capability {major}.{minor}, for which PyTorch's builds for CUDA 13 "
            "have no kernels: it needs one for CUDA 12.6": gpu.compute_capability < _CUDA_13,
        }
        return tuple(text for text, holds in said.items() if holds)

    def with_entries(self, entries: Mapping[str, Mapping[str, Any]], *, origin: str) -> Self:
        """Return a catalogue that also has a user's GPUs; one of the same name replaces the shipped one.

        `entries` are those of the `gpus:` of a YAML file; `origin` is their source (`given in lab.yaml`).

        Raises:
            UsageError: a field is unknown, missing or cannot be read.
        """
        added = [gpu_from_entry(name, entry, origin=origin) for name, entry in entries.items()]
        kept = [gpu for gpu in self.gpus if gpu.name not in entries]
        return type(self)((*kept, *added), self.own | set(entries))


def builtin_catalogue() -> Catalogue:
    """Return the shipped catalogue with the cards of the user's own `gpus.toml`.

    Raises:
        UsageError: that file cannot be read (says file and entry).
    """
    path = own_file()
    try:
        written = path.stat()
    except OSError:
        return _shipped()
    return _with_own(str(path), written.st_mtime_ns)


@cache
def _with_own(path: str, _written: int) -> Catalogue:
    shown = shown_path(own_file())
    entries = own_entries(path)
    try:
        return _shipped().with_entries(entries, origin=f"given in {shown}")
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from error


@cache
def _shipped() -> Catalogue:
    folder = resources.files("actprof.hardware").joinpath("gpus")
    texts = (folder.joinpath(f"{name}.toml").read_text(encoding="utf-8") for name in _FILES)
    return Catalogue(tuple(gpu for text in texts for gpu in _of_file(tomllib.loads(text))))


def _of_file(data: Mapping[str, Any]) -> Iterator[Gpu]:
    """Yield the cards of one file; `each` is what every card of it has that says nothing else."""
    words = {key: data[key] for key in ("vendor", "generation") if key in data}
    for entry in data["gpu"]:
        own = {key: value for key, value in entry.items() if key != "name"}
        sources = {**data["sources"], **entry["sources"]}
        yield gpu_from_entry(entry["name"], {**words, **data.get("each", {}), **own, "sources": sources})


def all_gpus() -> tuple[Gpu, ...]:
    """Return every GPU of the shipped catalogue."""
    return _shipped().gpus


def find_gpu(name: str) -> Gpu:
    """Return the GPU that `name` means, loosely, of the shipped ones and the user's own.

    Raises:
        UsageError: the name is unknown (says the nearest) or ambiguous (says all that fit).
    """
    return builtin_catalogue().find(name)


def custom_gpu(capacity_bytes: int) -> Gpu:
    """Return a GPU of which only the capacity is known, cautious in all the rest (`24.00 GiB GPU`)."""
    return Gpu(
        name=f"{format_bytes(capacity_bytes)} GPU",
        capacity_bytes=capacity_bytes,
        context_bytes=CAUTIOUS_CONTEXT_BYTES,
        compute_capability=GENERIC_COMPUTE_CAPABILITY,
        sources={
            "capacity_bytes": "given by the user",
            "context_bytes": "estimate: more than any card of the catalogue takes, as this one is not named",
            "compute_capability": "estimate: a card of the Ampere generation, as the card is not named",
        },
    )
