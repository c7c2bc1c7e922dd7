"""Loose matching of GPU names: `3090` and `NVIDIA GeForce RTX 3090` are one card, `3090 Ti` is another.

Names become keys (tuples of words and numbers without brand and unit). A key stands for a card when it
equals the key of the card's name or of an alias, or when only the memory size is missing at its end.
Anything else is unknown: a wrong card is worse than a question.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from actprof.errors import UsageError
from actprof.hardware.gpu import Gpu

type Key = tuple[str, ...]

_WORDS = re.compile(r"[a-z]+|\d+")
_NOISE = {"nvidia", "geforce", "rtx", "tesla", "gpu", "gb", "gib"}


def name_key(name: str) -> Key:
    """Return the words and numbers of `name` that tell cards apart (`NVIDIA GeForce RTX 4090` -> `4090`)."""
    return tuple(word for word in _WORDS.findall(name.lower()) if word not in _NOISE)


def match_gpu(name: str, gpus: Sequence[Gpu]) -> Gpu:
    """Return the one GPU of `gpus` that `name` means.

    Raises:
        UsageError: no card or several fit; names the nearest, or all that fit.
    """
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
