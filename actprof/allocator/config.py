"""One PYTORCH_CUDA_ALLOC_CONF, parsed: what the user sets of the caching allocator.

The syntax, the keys and the limits are those of torch 2.11 (c10/core/AllocatorConfig.cpp and
c10/cuda/CUDAAllocatorConfig.cpp), with the keys that 2.12 to 2.15 added. Keys that PyTorch accepts but that
change nothing in device memory are kept as they are. `str(config)` gives text that parses back to the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from actprof.allocator.rounding import LARGE_SEGMENT_BYTES, MIN_LARGE_ALLOC_BYTES, ROUNDUP_INTERVALS
from actprof.errors import UsageError, did_you_mean
from actprof.units import MIB

_UNLIMITED_MB = (2**64 - 1) // MIB
_BOOL_KEYS = (
    "graph_capture_record_stream_reuse",
    "pinned_use_background_threads",
    "pinned_use_cuda_host_register",
    "pinned_use_hip_host_register",
    "release_lock_on_cudamalloc",
    "release_lock_on_hipmalloc",
    "pinned_free_catch_all",  # from 2.12 on
    "throw_on_cudamalloc_oom",  # the same
)
_MAX_THREADS = 128  # pinned_max_register_threads
_COUNT_KEYS = (
    "pinned_num_register_threads", "pinned_reserve_segment_size_mb",
    "pinned_max_cached_size_mb", "pinned_max_round_threshold_mb",  # from 2.15 on
)  # fmt: skip
# How many addresses an expandable segment has, from 2.15 on: as long as they suffice, no memory.
_ADDRESS_KEYS = ("expandable_segments_reserve", "expandable_segments_reserve_by_class")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorConfig:
    """The settings of the caching allocator; the defaults are PyTorch's.

    Attributes:
        expandable_segments: one growing segment per stream and pool instead of one per cudaMalloc.
        max_split_size_bytes: blocks of at least this size are never split (None = all may be).
        max_non_split_rounding_bytes: how much larger than the request a block that is not split may be.
        garbage_collection_threshold: the part of the allowed memory above which old cached segments are given
            back; needs a memory fraction. 0 = never.
        per_process_memory_fraction: the part of the device that may be reserved (None = all).
        large_segment_size_bytes: a segment for a request between 1 and 10 MiB; a page of a large expandable
            segment.
        roundup_power2_divisions: into how many steps each power of two from 1 MiB to 32 GiB is divided for
            rounding (0 or 1 = multiples of 512 bytes); 16 numbers, or none where nothing is set.
        other: keys without effect on device memory, and their values, as given.
    """

    expandable_segments: bool = False
    max_split_size_bytes: int | None = None
    max_non_split_rounding_bytes: int = LARGE_SEGMENT_BYTES
    garbage_collection_threshold: float = 0.0
    per_process_memory_fraction: float | None = None
    large_segment_size_bytes: int = LARGE_SEGMENT_BYTES
    roundup_power2_divisions: tuple[int, ...] = ()
    other: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the settings that `text` names, such as `expandable_segments:True,max_split_size_mb:128`.

        Raises:
            UsageError: an unknown key, a value out of PyTorch's limits, or another allocator (`backend`).
        """
        settings: dict[str, Any] = {}
        other: dict[str, str] = {}
        for key, value in _split(text):
            if key in _READERS:
                field, read = _READERS[key]
                settings[field] = read(key, value)
            else:
                other[key] = _check_other(key, value)
        _check_sizes(settings)
        return cls(**settings, other=tuple(sorted(other.items())))

    def __str__(self) -> str:
        """Return the settings that differ from the defaults, in PyTorch's syntax."""
        written = {
            key: _write(key, getattr(self, field))
            for key, (field, _) in _READERS.items()
            if getattr(self, field) != getattr(_DEFAULT, field)
        }
        return ",".join(f"{key}:{value}" for key, value in sorted({**written, **dict(self.other)}.items()))

    def allowed_bytes(self, total_bytes: int) -> int | None:
        """Return what the memory fraction lets PyTorch reserve of a device; None without a cap.

        A fraction of 1 sets none, as in torch 2.11.
        """
        fraction = self.per_process_memory_fraction
        return None if fraction is None or fraction >= 1 else int(fraction * total_bytes)

    @property
    def rejects_early(self) -> bool:
        """Whether a request above the memory fraction fails without a release of the cache, from 2.12 on."""
        return dict(self.other).get("throw_on_cudamalloc_oom") == "True"

    def capped_bytes(self, available_bytes: int, total_bytes: int) -> int:
        """Return what PyTorch may reserve where `available_bytes` of a device's total are to be had."""
        allowed = self.allowed_bytes(total_bytes)
        return available_bytes if allowed is None else min(available_bytes, allowed)


def _split(text: str) -> list[tuple[str, str]]:
    """Return the keys and values of `text`, blanks removed; a list keeps its brackets."""
    text = re.sub(r"\s", "", text).removesuffix(",")  # PyTorch forgives one comma at the end
    pairs = []
    for item in re.split(r",(?![^\[]*\])", text) if text else []:
        key, colon, value = item.partition(":")
        if not colon or not value:
            raise UsageError(f"allocator setting {item!r} is not of the form key:value")
        pairs.append((key, value))
    return pairs


def _read_bool(key: str, value: str) -> bool:
    if value not in {"True", "False"}:
        raise UsageError(f"allocator setting {key}:{value} must be True or False")
    return value == "True"


def _read_count(key: str, value: str) -> int:
    if not re.fullmatch(r"\d+", value):
        raise UsageError(f"allocator setting {key}:{value} must be a whole number")
    return int(value)


def _read_mb(key: str, value: str) -> int:
    return min(_read_count(key, value), _UNLIMITED_MB) * MIB


def _read_part(key: str, value: str) -> float:
    """Return a part of the memory; a threshold must be a true part, a fraction may be nothing or all."""
    try:
        part = float(value)
    except ValueError:
        raise UsageError(f"allocator setting {key}:{value} must be a number") from None
    inner = key == "garbage_collection_threshold"
    if not (0 < part < 1 if inner else 0 <= part <= 1):
        limits = "0 and 1, both excluded" if inner else "0 and 1"
        raise UsageError(f"allocator setting {key}:{value} must lie between {limits}")
    return part


def _read_divisions(key: str, value: str) -> tuple[int, ...]:
    """Return the divisions of all intervals (parseRoundUpPower2Divisions)."""
    if not value.startswith("["):
        count = _read_count(key, value)
        if not _is_power_of_two(count):
            raise UsageError(f"allocator setting {key}:{value} must be a power of two")
        return (count,) * ROUNDUP_INTERVALS
    if not value.endswith("]"):
        raise UsageError(f"allocator setting {key}:{value} lacks the closing bracket")
    table = [0] * ROUNDUP_INTERVALS
    last: int | None = None
    for item in value[1:-1].removesuffix(",").split(",") if value != "[]" else []:
        start, count = _read_division(key, item)
        if start is None:  # as in PyTorch, an opening > leaves the first interval alone
            table[(last or 0) + 1 :] = [count] * (ROUNDUP_INTERVALS - 1 - (last or 0))
            continue
        if last is None:
            table[:start] = [count] * start
        table[start] = count
        last = start
    return tuple(table)


def _read_division(key: str, item: str) -> tuple[int | None, int]:
    """Return the interval (None for `>`, all that follow) and the divisions that `512:4` names."""
    start, _, divisions = item.partition(":")
    count = _read_count(key, divisions or item)
    if count and not _is_power_of_two(count):
        raise UsageError(f"allocator setting {key}: {count} in {item!r} must be 0 or a power of two")
    if start == ">":
        return None, count
    if not re.fullmatch(r"\d+", start) or not _is_power_of_two(int(start)):
        raise UsageError(f"allocator setting {key}: {item!r} must begin with a power of two (in MiB) or >")
    return min(int(start).bit_length() - 1, ROUNDUP_INTERVALS - 1), count


def _is_power_of_two(count: int) -> bool:
    return count > 0 and count & (count - 1) == 0


def _check_other(key: str, value: str) -> str:
    """Return the value of a key without effect on device memory, or say what is wrong with it."""
    if key == "backend":
        if value != "native":
            raise UsageError(
                f"allocator setting backend:{value} is another allocator; only native is known here"
            )
    elif key in _BOOL_KEYS:
        _read_bool(key, value)
    elif key in _COUNT_KEYS:
        _check_count(key, _read_count(key, value))
    elif key not in _ADDRESS_KEYS:
        known = sorted({*_READERS, *_BOOL_KEYS, *_COUNT_KEYS, *_ADDRESS_KEYS, "backend"})
        hint = did_you_mean(key, *known, most=1) or f"known are {', '.join(known)}"
        raise UsageError(f"unknown allocator setting {key!r}; {hint}")
    return value


def _check_count(key: str, count: int) -> None:
    """Check what PyTorch checks of its settings for pinned memory."""
    if count == 0:
        raise UsageError(f"allocator setting {key}:0 must be greater than 0")
    if key == "pinned_num_register_threads" and not (_is_power_of_two(count) and count <= _MAX_THREADS):
        raise UsageError(f"allocator setting {key}:{count} must be a power of two up to {_MAX_THREADS}")


def _check_sizes(settings: Mapping[str, Any]) -> None:
    """Check the sizes against each other (parseLargeSegmentSize, parseMaxSplitSize and the like)."""
    large = settings.get("large_segment_size_bytes", LARGE_SEGMENT_BYTES)
    if large <= MIN_LARGE_ALLOC_BYTES:
        raise UsageError(f"allocator setting large_segment_size_mb:{large // MIB} must be greater than 10")
    for field, key in (
        ("max_split_size_bytes", "max_split_size_mb"),
        ("max_non_split_rounding_bytes", "max_non_split_rounding_mb"),
    ):
        if settings.get(field, large) < large:
            raise UsageError(
                f"allocator setting {key}:{settings[field] // MIB} is too small; "
                f"it must be at least {large // MIB}"
            )


def _write(key: str, value: Any) -> str:
    """Write the value of `key` in PyTorch's syntax."""
    if key.endswith("_mb"):
        return str(value // MIB)
    if isinstance(value, tuple):
        return "[" + ",".join(f"{1 << index}:{count}" for index, count in enumerate(value)) + "]"
    return str(value)


_READERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "expandable_segments": ("expandable_segments", _read_bool),
    "garbage_collection_threshold": ("garbage_collection_threshold", _read_part),
    "large_segment_size_mb": ("large_segment_size_bytes", _read_mb),
    "max_non_split_rounding_mb": ("max_non_split_rounding_bytes", _read_mb),
    "max_split_size_mb": ("max_split_size_bytes", _read_mb),
    "per_process_memory_fraction": ("per_process_memory_fraction", _read_part),
    "roundup_power2_divisions": ("roundup_power2_divisions", _read_divisions),
}
_DEFAULT = AllocatorConfig()
