"""Make the small recordings in this folder, without a GPU.

    python tests/data/make_recordings.py [FOLDER]

The requests of a made-up training run go through actprof's own allocator; its answers are written down as
PyTorch writes its memory snapshots: the same keys in the same order, frames shared, pickled the same way.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.out_of_memory import OutOfMemoryError

MIB = 1024**2
STATES = {"allocated": "active_allocated", "free": "inactive", "pending": "active_awaiting_free"}
LIBRARY = "/venv/lib/python3.12/site-packages/torch/nn/modules"


class Recorder:
    """An allocator that writes a snapshot of what it did."""

    def __init__(self, conf="", *, capacity_bytes=None):
        self.config = AllocatorConfig.parse(conf)
        # the whole device is large, so that an expandable segment has room for all
        self.allocator = CachingAllocator(self.config, capacity_bytes=capacity_bytes, total_bytes=1 << 38)
        self.allocator.device.log = self.log = []
        self.capacity_bytes = capacity_bytes
        self.events, self.frames, self.clock = [], {}, 1_700_000_000_000_000
        self.streams = {}  # of segments, by address

    def malloc(self, size, *who, stream=0):
        """Return the address, or None where it ran out; `who` names the frames, innermost first."""
        try:
            address = self.allocator.malloc(size, stream)
        except OutOfMemoryError as error:
            self.write_segments(who, stream)
            free = (self.capacity_bytes or 0) - self.allocator.reserved_bytes
            self.write("oom", free, error.rounded_bytes, stream, who)
            return None
        self.write_segments(who, stream)
        self.write("alloc", address, size, stream, who)
        return address

    def free(self, address, size, *who, stream=0):
        self.allocator.free(address)
        for action in ("free_requested", "free_completed"):
            self.write(action, address, size, stream, who)

    def empty_cache(self, *who):
        self.allocator.empty_cache()
        self.write_segments(who, 0)

    def write_segments(self, who, stream):
        for action, address, size in self.log:
            if action in {"segment_alloc", "segment_map"}:
                self.streams[address] = stream
            base = max(place for place in self.streams if place <= address)
            self.write(action, address, size, self.streams[base], who)
        self.log.clear()

    def write(self, action, address, size, stream, who):
        self.clock += 5
        place = "device_free" if action == "oom" else "addr"
        event = {"action": action, place: address, "size": size, "stream": stream, "time_us": self.clock}
        self.events.append(event | {"frames": self.stack(who)})

    def stack(self, who):
        """Return the frames of a stack; each frame is one dict however often it occurs."""
        lines = [(f"{LIBRARY}/module.py", 1773, "_call_impl"), *who, ("/home/me/train.py", 42, "main")]
        for line in lines:
            self.frames.setdefault(line, dict(zip(("filename", "line", "name"), line, strict=True)))
        return [self.frames[line] for line in lines]

    def snapshot(self):
        """Return the dict that `torch.cuda.memory._snapshot()` would."""
        return {
            "segments": [self.segment(segment) for segment in self.allocator.snapshot()],
            "device_traces": [self.events],
            "allocator_settings": {
                "PYTORCH_CUDA_ALLOC_CONF": str(self.config),
                "max_split_size": self.config.max_split_size_bytes or -1,
                "garbage_collection_threshold": 0.0,
                "expandable_segments": self.config.expandable_segments,
            },
            "external_annotations": [],
        }

    def segment(self, segment):
        used = sum(block.size_bytes for block in segment.blocks if block.state != "free")
        return {
            "device": 0, "address": segment.address, "total_size": segment.total_bytes,
            "allocated_size": used, "active_size": used, "stream": segment.stream,
            "segment_type": segment.pool, "segment_pool_id": (0, 0), "is_expandable": segment.is_expandable,
            "frames": [],
            "blocks": [
                {"address": b.address, "size": b.size_bytes, "requested_size": b.requested_bytes,
                 "state": STATES[b.state], "frames": []}
                for b in segment.blocks
            ],
        }  # fmt: skip


def train(recorder, *, layers=6, steps=3, growth=1.0):
    """Run some steps of a network whose batches grow; stop where it runs out of memory."""
    for index in range(2 * layers):
        size = (300_000 if index % 2 else 3 * MIB) + 4096 * index
        recorder.malloc(size, ("/home/me/model.py", 10, "__init__"))
    for step in range(steps):
        saved = []
        scale = growth**step
        for layer in range(layers):
            line = ("/home/me/model.py", 30 + layer, "forward")
            for size in (int(scale * (2 + layer) * MIB) + 100, int(scale * 700_000), int(scale * 11 * MIB)):
                address = recorder.malloc(size, line)
                if address is None:
                    return
                saved.append((address, size, line))
            recorder.free(*saved.pop())
        if step == 0:
            recorder.empty_cache(("/home/me/train.py", 40, "warm_up"))
        while saved:
            address, size, line = saved.pop()
            gradient = recorder.malloc(size, ("/home/me/train.py", 60, "backward"))
            recorder.free(address, size, line)
            if gradient is None:
                return
            recorder.free(gradient, size, ("/home/me/train.py", 60, "backward"))


def make_native():
    """Return a native run on 108 MiB that survives two retries."""
    recorder = Recorder(capacity_bytes=108 * MIB)
    train(recorder, steps=4, growth=1.12)
    return recorder


def make_expandable():
    """Return a run with expandable segments on 128 MiB that ends out of memory."""
    recorder = Recorder("expandable_segments:True", capacity_bytes=128 * MIB)
    train(recorder, steps=6, growth=1.3)
    return recorder


RECORDINGS = {"native-retry.pickle": make_native, "expandable-oom.pickle": make_expandable}


def main(folder: str = "") -> None:
    """Write the recordings into a folder, this one if none is given."""
    target = Path(folder) if folder else Path(__file__).parent
    for name, make in RECORDINGS.items():
        recorder = make()
        (target / name).write_bytes(pickle.dumps(recorder.snapshot(), protocol=4))
        allocator = recorder.allocator
        print(f"{name}: {len(recorder.events)} events, {allocator.num_alloc_retries} retries, "  # noqa: T201
              f"{allocator.num_ooms} out of memory")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
