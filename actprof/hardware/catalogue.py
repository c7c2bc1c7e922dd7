"""The catalogue of GPUs: the shipped `gpus.toml`, and new catalogues that add a user's own cards.

A catalogue never changes; `with_entries` returns another one. Nothing here asks a device.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Self

from actprof.hardware.entries import CAUTIOUS_CONTEXT_BYTES, GENERIC_COMPUTE_CAPABILITY, gpu_from_entry
from actprof.hardware.gpu import Gpu
from actprof.hardware.naming import match_gpu
from actprof.units import format_bytes


@dataclass(frozen=True, slots=True)
class Catalogue:
    """GPUs with distinct names, in the order of their files."""

    gpus: tuple[Gpu, ...]

    def find(self, name: str) -> Gpu:
        """Return the GPU that `name` means, loosely (`3090`, `a100-80`, `NVIDIA GeForce RTX 3090`).

        Raises:
            UsageError: the name is unknown (says the nearest) or ambiguous (says all that fit).
        """
        exact = [gpu for gpu in self.gpus if gpu.name == name]
        return exact[0] if exact else match_gpu(name, self.gpus)

    def with_entries(self, entries: Mapping[str, Mapping[str, Any]], *, origin: str) -> Self:
        """Return a catalogue that also has a user's GPUs; one of the same name replaces the shipped one.

        Args:
            entries: name of a GPU to its fields, as parsed from the `gpus:` of a YAML file.
            origin: where the figures come from, for their `sources` (`given in lab.yaml`).

        Raises:
            UsageError: a field is unknown, missing or cannot be read.
        """
        added = [gpu_from_entry(name, entry, origin=origin) for name, entry in entries.items()]
        kept = [gpu for gpu in self.gpus if gpu.name not in entries]
        return type(self)((*kept, *added))


@cache
def builtin_catalogue() -> Catalogue:
    """Return the shipped catalogue."""
    text = resources.files("actprof.hardware").joinpath("gpus.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    common: dict[str, str] = data["sources"]
    return Catalogue(tuple(_shipped_gpu(entry, common) for entry in data["gpu"]))


def _shipped_gpu(entry: Mapping[str, Any], common: Mapping[str, str]) -> Gpu:
    fields = {key: value for key, value in entry.items() if key != "name"}
    return gpu_from_entry(entry["name"], {**fields, "sources": {**common, **entry["sources"]}})


def all_gpus() -> tuple[Gpu, ...]:
    """Return every GPU of the shipped catalogue."""
    return builtin_catalogue().gpus


def find_gpu(name: str) -> Gpu:
    """Return the GPU of the shipped catalogue that `name` means, loosely.

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
