"""Which allocator settings a run gets from its environment.

torch 2.11 reads `PYTORCH_CUDA_ALLOC_CONF` and, only where that is not set at all, `PYTORCH_ALLOC_CONF`
(`CUDAAllocatorConfig::instance` in c10/cuda/CUDAAllocatorConfig.h). The two are never merged, and an empty
`PYTORCH_CUDA_ALLOC_CONF` hides the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


@dataclass(frozen=True, slots=True)
class AllocatorSettings:
    """The settings of a run: the text, the variable that it comes from, and the one that is not read."""

    text: str = ""
    variable: str = ""
    hidden: str = ""


def allocator_settings(environment: Mapping[str, str]) -> AllocatorSettings:
    """Return the allocator settings that PyTorch takes from `environment`."""
    there = [name for name in VARIABLES if name in environment]
    if not there:
        return AllocatorSettings()
    hidden = there[1] if len(there) > 1 and environment[there[1]] != environment[there[0]] else ""
    return AllocatorSettings(environment[there[0]], there[0], hidden)
