"""Bytes and seconds to text and back.

Inside the code sizes are `int` bytes and times `float` seconds; text appears only at the edges.
Binary units (KiB, MiB, GiB) are powers of 1024, as PyTorch prints them; KB, MB, GB are powers of 1000.
"""

from __future__ import annotations

import re

from actprof.errors import UsageError

KIB = 1024
MIB = 1024**2
GIB = 1024**3

_UNITS = {
    "": 1, "b": 1,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024**4,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[a-z]*)\s*", re.IGNORECASE)


def parse_bytes(text: str | int) -> int:
    """Return the bytes that `text` names (`23.69GiB`, `512 MiB`, `24GB`, `1048576`).

    Raises:
        UsageError: `text` is not a number with one of the units B, KiB … TiB, KB … TB.
    """
    match = _SIZE.fullmatch(str(text))
    if match is None or match["unit"].lower() not in _UNITS:
        raise UsageError(f"{text!r} is not a size; write it like 23.69GiB, 512MiB or 24GB")
    return round(float(match["number"]) * _UNITS[match["unit"].lower()])


def format_bytes(count: int, *, digits: int = 2) -> str:
    """Return `count` bytes in the largest binary unit that keeps it at or above one (`13.09 GiB`)."""
    size = abs(count)
    for unit, scale in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= scale:
            return f"{count / scale:.{digits}f} {unit}"
    return f"{count} bytes"


def exact_bytes(count: int) -> str:
    """Return `count` bytes as `parse_bytes` reads them back, in few digits: `2.3GiB`, `512MiB`, `1000B`."""
    for unit, scale in (("GiB", GIB), ("MiB", MIB)):
        for digits in range(4):
            text = f"{count / scale:.{digits}f}{unit}"
            if parse_bytes(text) == count:
                return text
    return f"{count}B"


_A_SECOND = 0.9995  # what would round to a thousand milliseconds


def format_seconds(seconds: float) -> str:
    """Return a duration with a sensible unit (`470 ms`, `1.10 s`, `3 min 20 s`, `2 h 05 min`)."""
    if seconds < _A_SECOND:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def ceil_div(number: int, divisor: int) -> int:
    """Return how many pieces of `divisor` hold `number`."""
    return -(-number // divisor)
