"""From an entry that people write (`capacity: 23.5GiB`, `fp32: 35.6 TFLOPS`) to a `Gpu`.

The same fields serve the shipped `gpus/*.toml`, a user's `gpus.toml` and the `gpus:` of a user's YAML file.
Every value is a text with its unit, so that no figure can be off by a thousand unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, NamedTuple

from actprof.errors import UsageError
from actprof.hardware.gpu import NVIDIA, Gpu
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
_POWER = re.compile(r"(\d+(?:\.\d+)?)\s*W", re.IGNORECASE)
_COUNT = re.compile(r"[1-9]\d{0,5}")
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
        why = (
            "; write the unit, like 23.69GiB"
            if text.strip()[-1:].isdigit()
            else ": CUDA's context takes more"
        )
        raise UsageError(f"{text!r} is too small for a GPU{why}")
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


def parse_power(text: str) -> float:
    """Return the watts that `text` names (`350 W`).

    Raises:
        UsageError: `text` is not a number with the unit W.
    """
    return float(_match(_POWER, text, "a power; write it like 350 W")[1])


def parse_count(text: str) -> int:
    """Return the positive whole number that `text` is.

    Raises:
        UsageError: `text` is none.
    """
    return int(_match(_COUNT, text, "a number; write it like 82")[0])


def _match(pattern: re.Pattern[str], text: str, what: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not {what}")
    return match


class Figure(NamedTuple):
    """What a field of an entry is: the field of `Gpu`, and how its text is read."""

    field: str
    parse: Callable[[str], Any]


# Sources use the entry's names too; `rates` covers the four rates and `specs` all that are not named.
FIGURES = {
    "capacity": Figure("capacity_bytes", parse_capacity),
    "context": Figure("context_bytes", parse_bytes),
    "compute_capability": Figure("compute_capability", parse_compute_capability),
    "bandwidth": Figure("memory_bandwidth_bytes_per_s", parse_bandwidth),
    "nvlink": Figure("nvlink_bytes_per_s", parse_bandwidth),
    "fp32": Figure("fp32_flops", parse_flops),
    "tf32": Figure("tf32_flops", parse_flops),
    "bf16": Figure("bf16_flops", parse_flops),
    "fp16": Figure("fp16_flops", parse_flops),
    "multiprocessors": Figure("multiprocessors", parse_count),
    "threads_per_multiprocessor": Figure("threads_per_multiprocessor", parse_count),
    "shared_memory": Figure("shared_memory_bytes", parse_bytes),
    "l2_cache": Figure("l2_bytes", parse_bytes),
    "clock": Figure("clock_hz", parse_clock),
    "memory_clock": Figure("memory_clock_hz", parse_clock),
    "sustained_clock": Figure("sustained_clock_hz", parse_clock),
    "sustained_bandwidth": Figure("sustained_bandwidth_bytes_per_s", parse_bandwidth),
    "power": Figure("power_watts", parse_power),
}
COUNTS = ("multiprocessors", "threads_per_multiprocessor")
_RATES = ("fp32", "tf32", "bf16", "fp16")
_WORDS = ("vendor", "generation")


def estimate_context_bytes(compute_capability: tuple[int, int], multiprocessors: int) -> int:
    """Return what a training process is likely to hold beside its segments, in whole MiB."""
    handle = 2 * _CUBLAS_MIB.get(compute_capability[0], _OLDER_CUBLAS_MIB)
    total = multiprocessors * _MIB_PER_MULTIPROCESSOR + _KERNELS_MIB + _THREADS * handle
    return max(ceil(total), _LEAST_CONTEXT_MIB) * MIB


def gpu_from_entry(name: str, entry: Mapping[str, Any], *, origin: str | None = None) -> Gpu:
    """Return the GPU that `entry` describes.

    Args:
        name: the GPU's name.
        entry: fields of `FIGURES`, all texts with units but counts; `vendor` and `generation`; `aliases`;
            `sources`.
        origin: the source of every figure that `sources` does not name (`given in lab.yaml`).

    Raises:
        UsageError: `capacity` is missing, a field is unknown, or a value cannot be read.
    """
    unknown = [key for key in entry if key not in (*FIGURES, *_WORDS, "aliases", "sources")]
    if unknown:
        raise UsageError(f"GPU {name!r}: unknown field {unknown[0]!r}; the fields are {', '.join(FIGURES)}")
    if "capacity" not in entry:
        raise UsageError(f"GPU {name!r} has no capacity; add one, like capacity: 23.5GiB")
    figures = {key: _figure(name, key, entry[key]) for key in FIGURES if entry.get(key) is not None}
    sources = _sources(figures, _table(name, entry.get("sources", {})), origin)
    words = {key: str(entry[key]) for key in _WORDS if key in entry}
    _fill_in(figures, sources, words.get("vendor", NVIDIA))
    values: dict[str, Any] = {**words, **{FIGURES[key].field: value for key, value in figures.items()}}
    return Gpu(name=name, aliases=_aliases(name, entry), sources=sources, **values)


def _figure(name: str, key: str, value: Any) -> Any:
    """Return the figure that a value is; TOML also has numbers, as in `compute_capability = 8.6`."""
    text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else repr(value)
    try:
        return FIGURES[key].parse(text)
    except UsageError as error:
        raise UsageError(f"GPU {name!r}, {key}: {error}") from error


def _table(name: str, given: Any) -> Mapping[str, str]:
    if isinstance(given, Mapping):
        return given
    raise UsageError(f'GPU {name!r}, sources: {given!r} is no table; write it like {{capacity = "measured"}}')


def _aliases(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    given = entry.get("aliases", ())
    if isinstance(given, (list, tuple)) and all(isinstance(alias, str) for alias in given):
        return tuple(given)
    raise UsageError(f'GPU {name!r}, aliases: {given!r} is no list of names; write it like ["{name}"]')


def _fill_in(figures: dict[str, Any], sources: dict[str, str], vendor: str) -> None:
    """Add what every GPU must have: an estimate of the context, and a compute capability to reckon with."""
    if "context" not in figures and {"compute_capability", "multiprocessors"} <= figures.keys():
        known = figures["compute_capability"], figures["multiprocessors"]
        figures["context"] = estimate_context_bytes(*known)
        sources["context_bytes"] = _CONTEXT_SOURCE
    elif "context" not in figures:
        figures["context"] = CAUTIOUS_CONTEXT_BYTES
        sources["context_bytes"] = "estimate: none given, so more than any card of the catalogue takes"
    if "compute_capability" not in figures:
        figures["compute_capability"] = GENERIC_COMPUTE_CAPABILITY
        why = "none given, so a card" if vendor == NVIDIA else f"{vendor} has none; it stands for a card"
        sources["compute_capability"] = f"estimate: {why} of the Ampere generation"


def _sources(figures: Mapping[str, Any], given: Mapping[str, str], origin: str | None) -> dict[str, str]:
    """Return the source of each figure under its `Gpu` field; `rates` and `specs` stand for the unnamed."""
    specs = given.get("specs", origin)
    rates = given.get("rates", specs)
    named = {key: given.get(key, rates if key in _RATES else specs) for key in figures}
    return {FIGURES[key].field: text for key, text in named.items() if text is not None}
