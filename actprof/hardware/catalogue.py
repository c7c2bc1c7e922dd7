"""The catalogue of GPUs: the shipped `gpus.toml`, and new catalogues that add a user's own cards.

Names match loosely: `3090` and `NVIDIA GeForce RTX 3090` are one card, `3090 Ti` is another. They become keys
(tuples of words and numbers without brand and unit). A key stands for a card when it equals the key of the
card's name or of an alias, or when only the memory size is missing at its end. Anything else is unknown: a
wrong card is worse than a question.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Self, TypeAlias

from actprof.errors import UsageError
from actprof.hardware.entries import CAUTIOUS_CONTEXT_BYTES, GENERIC_COMPUTE_CAPABILITY, gpu_from_entry
from actprof.hardware.gpu import Gpu
from actprof.units import format_bytes

Key: TypeAlias = tuple[str, ...]

_WORDS = re.compile(r"[a-z]+|\d+")
_NOISE = {"nvidia", "geforce", "rtx", "tesla", "gpu", "gb", "gib"}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """GPUs with distinct names, in the order of their files; it never changes."""

    gpus: tuple[Gpu, ...]

    def find(self, name: str) -> Gpu:
        """Return the GPU that `name` means, loosely (`3090`, `a100-80`, `NVIDIA GeForce RTX 3090`).

        Raises:
            UsageError: the name is unknown (says the nearest) or ambiguous (says all that fit).
        """
        exact = [gpu for gpu in self.gpus if gpu.name == name]
        return exact[0] if exact else _match_gpu(name, self.gpus)

    def with_entries(self, entries: Mapping[str, Mapping[str, Any]], *, origin: str) -> Self:
        """Return a catalogue that also has a user's GPUs; one of the same name replaces the shipped one.

        `entries` are those of the `gpus:` of a YAML file; `origin` is their source (`given in lab.yaml`).

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


def name_key(name: str) -> Key:
    """Return the words and numbers of `name` that tell cards apart (`NVIDIA GeForce RTX 4090` -> `4090`)."""
    return tuple(word for word in _WORDS.findall(name.lower()) if word not in _NOISE)


def _match_gpu(name: str, gpus: Sequence[Gpu]) -> Gpu:
    key = name_key(name)
    exact = [gpu for gpu in gpus if any(key == known for known in _keys(gpu))]
    loose = [gpu for gpu in gpus if any(_only_size_missing(key, known) for known in _keys(gpu))]
    found = exact or loose
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"GPU {name!r} is ambiguous; write {' or '.join(gpu.name for gpu in found)}")
    raise UsageError(_unknown(name, gpus))


def _keys(gpu: Gpu) -> list[Key]:
    return [name_key(text) for text in (gpu.name, *gpu.aliases)]


def _only_size_missing(key: Key, known: Key) -> bool:
    """Tell whether `known` is `key` and a memory size (`a100` for `a100 80`); a lone letter is no name."""
    rest = known[len(key) :]
    names_a_model = any(word.isdecimal() or len(word) > 1 for word in key)
    size_missing = bool(rest) and all(word.isdecimal() for word in rest)
    return names_a_model and size_missing and known[: len(key)] == key


def _unknown(name: str, gpus: Sequence[Gpu]) -> str:
    spellings = {" ".join(name_key(text)): gpu.name for gpu in gpus for text in (gpu.name, *gpu.aliases)}
    close = difflib.get_close_matches(" ".join(name_key(name)), spellings, n=8, cutoff=0.6)
    nearest = list(dict.fromkeys(spellings[text] for text in close))[:3]
    hint = f"the nearest are {', '.join(nearest)}; " if nearest else ""
    return f"unknown GPU {name!r}; {hint}`actprof gpus` lists all"
