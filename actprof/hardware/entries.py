"""From an entry that people write (`capacity: 23.5GiB`, `fp32: 35.6 TFLOPS`) to a `Gpu`.

The same fields serve `gpus.toml` and the `gpus:` of a user's YAML file. Every value is a text with its
unit, so that no figure can be off by a thousand unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, NamedTuple

from actprof.errors import UsageError
from actprof.hardware.gpu import Gpu
from actprof.units import MIB, parse_bytes

# More than any card of the catalogue takes: one that says nothing about its context must not be promised
# memory that the context may take.
CAUTIOUS_CONTEXT_BYTES = 850 * MIB
GENERIC_COMPUTE_CAPABILITY = (8, 6)
# Below this a size is a slip (`capacity: 24` is 24 bytes): no CUDA context fits in it.
SMALLEST_CAPACITY_BYTES = 256 * MIB

_CAPABILITY = re.compile(r"(\d{1,2})\.(\d)")
_FLOPS = re.compile(r"(\d+(?:\.\d+)?)\s*([GTP])FLOP(?:S|/s)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d+(?:\.\d+)?)\s*MHz", re.IGNORECASE)
_FLOPS_SCALE = {"G": 1e9, "T": 1e12, "P": 1e15}

# What a process takes of a card beside PyTorch's segments, measured piece by piece on one H100 (driver 580,
# CUDA 13.0, torch 2.11; reports/accuracy/h100/): 518 MiB when the context is there, 92 with the first of
# PyTorch's kernels (lazy loading takes the rest of the file with it), 2 with cuBLAS, some 24 more with cuDNN
# and what a training run loads, and twice cuBLAS' own workspace (64) for each of the two threads that
# multiply. The first is taken to grow with the multiprocessors; so the estimate for the 36 of an RTX 5060 Ti
# is 307 MiB where its out-of-memory message gives 287.
_MIB_PER_MULTIPROCESSOR = 518 / 132
_KERNELS_MIB = 92 + 2 + 24
_THREADS = 2
# cuBLAS' documentation, cublasSetWorkspace: its own default workspace by architecture.
_CUBLAS_MIB = {9: 32, 10: 32, 11: 32, 12: 12}
_OLDER_CUBLAS_MIB = 4
_LEAST_CONTEXT_MIB = 250  # nobody reports less
_CONTEXT_SOURCE = (
    "estimate: 3.92 MiB for each multiprocessor, 118 MiB of kernels and two cuBLAS handles, as measured "
    "piece by piece on one H100 (actprof/hardware/entries.py); 7 % above the other card that is known"
)


def parse_capacity(text: str) -> int:
    """Return the bytes of a device's memory; a figure too small to be one is a forgotten unit.

    Raises:
        UsageError: `text` is no size, or below 256 MiB.
    """
    count = parse_bytes(text)
    if count < SMALLEST_CAPACITY_BYTES:
        raise UsageError(f"{text!r} is too small for a GPU; write the unit, like 23.69GiB")
    return count


def parse_compute_capability(text: str) -> tuple[int, int]:
    """Return (major, minor) of `8.6`.

    Raises:
        UsageError: `text` has another form.
    """
    match = _match(_CAPABILITY, text, "a compute capability; write it like 8.6")
    return int(match[1]), int(match[2])


def parse_flops(text: str) -> float:
    """Return the FLOP/s that `text` names (`35.6 TFLOPS`, `1.1 PFLOPS`).

    Raises:
        UsageError: `text` is not a number with the unit GFLOPS, TFLOPS or PFLOPS.
    """
    match = _match(_FLOPS, text, "a rate of arithmetic; write it like 35.6 TFLOPS")
    return float(match[1]) * _FLOPS_SCALE[match[2].upper()]


def parse_bandwidth(text: str) -> float:
    """Return the bytes per second that `text` names (`936 GB/s`).

    Raises:
        UsageError: `text` is not a size followed by `/s`.
    """
    if text.endswith("/s") and not text.removesuffix("/s").strip().isdecimal():
        try:
            return float(parse_bytes(text.removesuffix("/s")))
        except UsageError:
            pass
    raise UsageError(f"{text!r} is not a bandwidth; write it like 936 GB/s")


def parse_clock(text: str) -> float:
    """Return the Hz that `text` names (`1980 MHz`).

    Raises:
        UsageError: `text` is not a number with the unit MHz.
    """
    return float(_match(_CLOCK, text, "a clock; write it like 1980 MHz")[1]) * 1e6


def _match(pattern: re.Pattern[str], text: str, what: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not {what}")
    return match


class Figure(NamedTuple):
    """What a field of an entry is: the field of `Gpu`, and how its text is read."""

    field: str
    parse: Callable[[Any], Any]


# Sources use the entry's names too, and `specs` covers all that are not named.
FIGURES = {
    "capacity": Figure("capacity_bytes", parse_capacity),
    "context": Figure("context_bytes", parse_bytes),
    "compute_capability": Figure("compute_capability", parse_compute_capability),
    "bandwidth": Figure("memory_bandwidth_bytes_per_s", parse_bandwidth),
    "fp32": Figure("fp32_flops", parse_flops),
    "tf32": Figure("tf32_flops", parse_flops),
    "bf16": Figure("bf16_flops", parse_flops),
    "fp16": Figure("fp16_flops", parse_flops),
    "multiprocessors": Figure("multiprocessors", int),
    "threads_per_multiprocessor": Figure("threads_per_multiprocessor", int),
    "clock": Figure("clock_hz", parse_clock),
    "memory_clock": Figure("memory_clock_hz", parse_clock),
}


def estimate_context_bytes(compute_capability: tuple[int, int], multiprocessors: int) -> int:
    """Return what a training process is likely to hold beside its segments, in whole MiB."""
    handle = 2 * _CUBLAS_MIB.get(compute_capability[0], _OLDER_CUBLAS_MIB)
    total = multiprocessors * _MIB_PER_MULTIPROCESSOR + _KERNELS_MIB + _THREADS * handle
    return max(ceil(total), _LEAST_CONTEXT_MIB) * MIB


def gpu_from_entry(name: str, entry: Mapping[str, Any], *, origin: str | None = None) -> Gpu:
    """Return the GPU that `entry` describes.

    Args:
        name: the GPU's name.
        entry: fields of `FIGURES`, all texts with units but counts; `aliases`; `sources`.
        origin: the source of every figure that `sources` does not name (`given in lab.yaml`).

    Raises:
        UsageError: `capacity` is missing, or a value cannot be read.
    """
    unknown = [key for key in entry if key not in FIGURES and key not in ("aliases", "sources")]
    if unknown:
        raise UsageError(f"GPU {name!r}: unknown field {unknown[0]!r}; the fields are {', '.join(FIGURES)}")
    if "capacity" not in entry:
        raise UsageError(f"GPU {name!r} has no capacity; add one, like capacity: 23.5GiB")
    figures = {key: figure.parse(entry[key]) for key, figure in FIGURES.items() if entry.get(key) is not None}
    sources = _sources(figures, entry.get("sources", {}), origin)
    if "context" not in figures and {"compute_capability", "multiprocessors"} <= figures.keys():
        known = figures["compute_capability"], figures["multiprocessors"]
        figures["context"] = estimate_context_bytes(*known)
        sources["context_bytes"] = _CONTEXT_SOURCE
    elif "context" not in figures:
        figures["context"] = CAUTIOUS_CONTEXT_BYTES
        sources["context_bytes"] = "estimate: none given, so more than any card of the catalogue takes"
    if "compute_capability" not in figures:
        figures["compute_capability"] = GENERIC_COMPUTE_CAPABILITY
        sources["compute_capability"] = "estimate: none given, so a card of the Ampere generation"
    values: dict[str, Any] = {FIGURES[key].field: value for key, value in figures.items()}
    return Gpu(name=name, aliases=tuple(entry.get("aliases", ())), sources=sources, **values)


def _sources(figures: Mapping[str, Any], given: Mapping[str, str], origin: str | None) -> dict[str, str]:
    """Return the source of each figure under its `Gpu` field; `specs` stands for all that are not named."""
    fallback = given.get("specs", origin)
    named = {key: given.get(key, fallback) for key in figures}
    return {FIGURES[key].field: text for key, text in named.items() if text is not None}
