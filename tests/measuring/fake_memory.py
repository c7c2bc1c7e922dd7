"""A stand-in for the statistics of torch's CUDA allocator."""

from __future__ import annotations

from contextlib import nullcontext

import torch

POOLS = ("all", "small_pool", "large_pool")
STATISTICS = (
    "allocation", "segment", "active", "inactive_split", "allocated_bytes", "reserved_bytes", "active_bytes",
    "inactive_split_bytes", "requested_bytes",
)  # fmt: skip
COUNTERS = ("num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free")


class FakeMemory:
    """Bytes that live and bytes that were ever live: segments are never given back."""

    def __init__(self):
        self.active = self.active_peak = self.reserved = 0

    def take(self, count):
        self.active += count
        self.active_peak = max(self.active_peak, self.active)
        self.reserved = max(self.reserved, self.active)

    def forget_peaks(self):
        self.active_peak = self.active

    def nested(self, **_device):
        """Return what torch 2.11's `torch._C._cuda_memoryStats` returns."""
        active = {"current": self.active, "peak": self.active_peak, "allocated": 0, "freed": 0}
        reserved = {"current": self.reserved, "peak": self.reserved, "allocated": 0, "freed": 0}
        values = {name: reserved if name in ("segment", "reserved_bytes") else active for name in STATISTICS}
        return {
            **{name: dict.fromkeys(POOLS, value) for name, value in values.items()},
            "oversize_allocations": active,
            "oversize_segments": active,
            "max_split_size": -1,
            **dict.fromkeys(COUNTERS, 0),
        }

    @classmethod
    def instead_of_cuda(cls, monkeypatch):
        """Return one that `torch.cuda` asks from now on."""
        fake = cls()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "device", lambda _index: nullcontext())
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(torch.cuda, "reset_accumulated_memory_stats", lambda: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", fake.forget_peaks)
        monkeypatch.setattr(torch.cuda.memory, "memory_stats_as_nested_dict", fake.nested)
        return fake
