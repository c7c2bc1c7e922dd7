"""A GPU that does not exist: PyTorch's allocator rules over some bytes, and a workload that uses it.

The workload plays a hand-made trace, so that what is measured must equal what is predicted from the trace.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from handmade import build_trace

from actprof.allocator import AllocatorConfig
from actprof.allocator.caching import CachingAllocator
from actprof.measurement import DeviceFacts
from actprof.measuring.run_device import AllocatorCounters
from actprof.out_of_memory import OutOfMemoryError, out_of_memory_message


class FakeGpu:
    """Counts time by the number of marks, and memory by the simulated allocator."""

    torch_device = SimpleNamespace(type="cuda")

    def __init__(self, *, total_bytes=1 << 30, alloc_conf=""):
        self.total_bytes, self.config = total_bytes, AllocatorConfig.parse(alloc_conf)
        self.allocator = self.snapshot = None
        self.marks = self.ooms = 0

    def facts(self):
        return DeviceFacts(type="cuda", name="Fake GPU", total_bytes=self.total_bytes, driver="1.0")

    def prepare(self, *, cap_bytes, cudnn_benchmark):  # noqa: ARG002 - the seam's
        capacity = min(cap_bytes or self.total_bytes, self.total_bytes)
        self.allocator = CachingAllocator(
            self.config, capacity_bytes=capacity, total_bytes=self.total_bytes, torch_version=(2, 11)
        )

    def mark(self):
        self.marks += 1
        return self.marks

    def seconds_between(self, start, end):
        return float(end - start)

    def synchronize(self):
        """Nothing is queued."""

    def memory(self):
        a = self.allocator
        return AllocatorCounters(
            peak_allocated_bytes=a.peak_allocated_bytes, peak_reserved_bytes=a.peak_reserved_bytes,
            retries=a.num_alloc_retries, ooms=self.ooms,
        )  # fmt: skip

    def record_history(self):
        self.snapshot = ""

    def dump_snapshot(self, path):
        self.snapshot = path


class FakeWorkload:
    """Plays the steps of a trace on the fake GPU; the second step is repeated."""

    def __init__(self, gpu, batch_size, trace=None):
        self.trace = trace or build_trace()
        self.gpu, self.steps, self.addresses = gpu, 0, {}
        self.policy = torch.nn.Linear(1, 1)
        self.sizes = self.trace.tensors.requested_bytes(batch_size).tolist()
        self._play(0, self.trace.step_starts[0])

    def _play(self, start, end):
        for event in self.trace.events[start:end].tolist():
            if event > 0:
                try:
                    self.addresses[event] = self.gpu.allocator.malloc(self.sizes[event - 1])
                except OutOfMemoryError as error:
                    self.gpu.ooms += 1
                    text = out_of_memory_message(error, total_bytes=self.gpu.total_bytes)
                    raise torch.OutOfMemoryError(text) from error
            else:
                self.gpu.allocator.free(self.addresses[-event])

    def step(self, phase):
        trace, which = self.trace, min(self.steps, 1)
        if self.steps > 1:  # the input of the step before takes the place of the first step's
            for old, new in trace.carried:
                self.addresses[old + 1] = self.addresses[new + 1]
        ends = [*trace.step_starts[1:], len(trace.events)]
        with phase("data"):
            self._play(trace.step_starts[which], trace.update_starts[which])
        with phase("update"):
            self.gpu.allocator.reset_peaks()
            for name in ("forward", "backward", "optimizer"):
                with phase(name):
                    if name == "forward":
                        self._play(trace.update_starts[which], ends[which])
        self.steps += 1
