"""PyTorch's CUDA caching allocator, simulated: settings, native and expandable segments, recordings.

Pure Python, without torch: an allocator over a device of so many bytes, which decides as PyTorch's does.
"""

from __future__ import annotations

from actprof.allocator.blocks import BlockRecord, SegmentRecord
from actprof.allocator.caching import CachingAllocator
from actprof.allocator.config import AllocatorConfig

__all__ = [
    "AllocatorConfig",
    "BlockRecord",
    "CachingAllocator",
    "SegmentRecord",
]
