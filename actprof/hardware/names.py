"""Names of GPUs, compared loosely: `3090`, `rtx3090` and `NVIDIA GeForce RTX 3090` are one card.

A name becomes a key: its words and numbers without brand and unit. A key stands for a card when it equals the
key of the card's name or of an alias, or when only the memory size is missing at its end. Anything else is
unknown: a wrong card is worse than a question.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TypeAlias

from actprof.errors import UsageError
from actprof.hardware.gpu import NVIDIA, Gpu
from actprof.units import GIB, format_bytes

Key: TypeAlias = tuple[str, ...]

_WORDS = re.compile(r"[a-z]+|\d+")
_MARKS = re.compile(r"\((?:r|tm)\)")
_SIZE = re.compile(r"\b(\d+)\s*g(?:i?b)?\b")  # `A10G` is none: no word begins inside it
_SIZE_IN_NAME = re.compile(r"(\d+)\s*g(?:i?b)?\b")
_NOISE = {
    "nvidia", "geforce", "gtx", "tesla", "gpu", "gb", "gib", "generation", "desktop", "developer", "kit",
    "amd", "instinct", "radeon", "rx", "intel", "graphics",
}  # fmt: skip
_SAME = {"mobile": "laptop"}
# How others write a card: so many of them, where it is rented, its socket and memory; short for SUPER, and
# NVIDIA's former word for a laptop's card.
_COUNT = re.compile(r"^\s*(?:gpu\s+)?\d+\s*x(?=[\sa-z])\s*|\s+x\s*\d+\s*$")
_AROUND = re.compile(r"\b(?:colab|kaggle|lambda|runpod|dgx|hgx|sxm\d?|pcie|hbm\d\w?|nvlink)\b")
_SUPER = ((re.compile(r"\b(\d{4})\s*s\s*ti\b|\b(\d{4})\s*ti\s*s\b"), r"\1\2 ti super"),
          (re.compile(r"\b(\d{4})\s*s\b"), r"\1 super"))  # fmt: skip
_MAX_Q = re.compile(r"(\b(?:rtx|gtx)\s*\d{4}(?:\s*(?:ti|super))?)\s*(?:with\s+)?max-?q(?:\s+design)?")
_NO_CUDA = re.compile(r"(?:apple\s*)?m[1-5](?:\s*(?:pro|max|ultra))?|mps|cpu|tpu.*|apple.*", re.IGNORECASE)
_LAST_ONLY = "rtx"  # of the name of a `TITAN RTX`; elsewhere it tells no cards apart
_NEAREST = 3


def name_key(name: str) -> Key:
    """Return the words and numbers of `name` that tell cards apart (`NVIDIA GeForce RTX 4090` -> `4090`)."""
    text = _SIZE.sub(r"\1 ", _MARKS.sub(" ", name.lower()))
    words = [_SAME.get(word, word) for word in _WORDS.findall(text) if word not in _NOISE]
    return tuple(word for place, word in enumerate(words) if word != _LAST_ONLY or _ends(words, place))


def _ends(words: Sequence[str], place: int) -> bool:
    return place == len(words) - 1


def keys_of(gpu: Gpu) -> list[Key]:
    """Return the keys that mean `gpu`: of its name and its aliases."""
    return [name_key(text) for text in (gpu.name, *gpu.aliases)]


def bare_keys(gpu: Gpu) -> set[Key]:
    """Return the keys of its names without the memory size at their end, of those that have one."""
    named = [
        text for text in (gpu.name, *gpu.aliases) if text.endswith("GB") and not text.startswith("NVIDIA")
    ]
    return {name_key(text)[:-1] for text in named}


def match_name(name: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the cards that `name` means, loosely; several where it is ambiguous."""
    return _match(name, gpus) or _match(_plain(name), gpus)


def _match(name: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    key = name_key(name)
    exact = [gpu for gpu in gpus if key in keys_of(gpu)]
    return exact or [gpu for gpu in gpus if any(_only_size_missing(key, known) for known in keys_of(gpu))]


def _plain(name: str) -> str:
    """Return a name without what clouds and shops write around it."""
    text = _MAX_Q.sub(r"\1 laptop", _COUNT.sub("", name.lower().replace("_", " ")))
    for short, written_out in _SUPER:
        text = short.sub(written_out, text)
    return _AROUND.sub(" ", text)


def _only_size_missing(key: Key, known: Key) -> bool:
    """Tell whether `known` is `key` and a memory size (`a100` for `a100 80`); a lone letter is no name."""
    rest = known[len(key) :]
    names_a_model = any(word.isdecimal() or len(word) > 1 for word in key)
    size_missing = bool(rest) and all(word.isdecimal() for word in rest)
    return names_a_model and size_missing and known[: len(key)] == key


def unknown_gpu(name: str, gpus: Sequence[Gpu], *, own_file: str) -> UsageError:
    """Return the error for a name that means no card: the nearest by name and by memory, and the ways out.

    `own_file` is where the user's own cards are described.
    """
    sizes = _SIZE_IN_NAME.findall(name.lower())
    size, said = "SIZE (like 23.5GiB, of 24 GB)", [("nearest by name", _nearest_by_name(name, gpus))]
    if sizes:
        sold = int(sizes[-1])
        size = f"{_reported_gib(sold):.1f}GiB"
        said.append((f"by memory ({sold} GB)", _nearest_by_memory(sold, gpus)))
    near = "".join(f"{what}: {', '.join(found)}; " for what, found in said if found)
    near = f"{_with_other_memory(name, gpus)}{near}"
    if _NO_CUDA.fullmatch(name.strip()):
        near = "it has no CUDA memory, and actprof knows no other; "
    return UsageError(
        f"unknown GPU {name!r}; {near}`actprof gpus` lists all; --capacity {size} takes any card of that "
        f"size, and {own_file} can describe it"
    )


def _with_other_memory(name: str, gpus: Sequence[Gpu]) -> str:
    """Return what to write for a card that is known with another memory, like a rebuilt RTX 4090 of 48 GB."""
    size = _SIZE.search(name.lower())
    known = match_name(name[: size.start()] + name[size.end() :], gpus) if size else []
    if not size or len(known) != 1 or not int(size[1]):
        return ""
    card, held = known[0], _reported_gib(int(size[1]))
    return (
        f"the {card.name} is known, with {format_bytes(card.capacity_bytes)}: --gpu '{card.name}' "
        f"--capacity {held:.1f}GiB is one with {size[1]} GB; "
    )


def _reported_gib(gigabytes: int) -> float:
    """Return what torch reports of a card sold with so much memory: tests/hardware/test_memory_rule.py."""
    return max((1019 * gigabytes - 410) / 1024, 0.5)


def _nearest_by_name(name: str, gpus: Sequence[Gpu]) -> list[str]:
    spellings = {" ".join(key): gpu.name for gpu in gpus for key in keys_of(gpu)}
    asked = set(name_key(name))
    holding = [gpu.name for gpu in gpus if asked and any(asked <= set(key) for key in keys_of(gpu))]
    if holding:
        return holding[: _NEAREST + 1]
    close = difflib.get_close_matches(" ".join(name_key(name)), spellings, n=4 * _NEAREST, cutoff=0.6)
    return list(dict.fromkeys(spellings[text] for text in close))[:_NEAREST]


def _nearest_by_memory(gigabytes: int, gpus: Sequence[Gpu]) -> list[str]:
    """Return the cards whose memory is nearest to what a box with so many GB holds, newest first."""
    if not gigabytes:
        return []
    held = gigabytes * GIB
    known = [gpu for gpu in reversed(gpus) if gpu.vendor == NVIDIA]
    newest_first = sorted(known, key=lambda gpu: abs(1 - gpu.capacity_bytes / held))
    return [gpu.name for gpu in newest_first[:_NEAREST]]
