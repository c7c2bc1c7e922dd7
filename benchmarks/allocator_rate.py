"""Print how many events per second a recording is replayed at on one core, and the memory that takes.

    python benchmarks/allocator_rate.py [FOLDER]

An event is what PyTorch records: an allocation, the request of a free, its completion. The program is made
here and resembles training: parameters that stay, layers that save activations and use short temporaries, a
reverse pass that frees them. FOLDER may hold stripped recordings (*.json.gz); the five largest are replayed
as well, under native and under expandable segments. The last lines show that the memory of a replay does not
grow with the number of events.
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.snapshots.events import Event, Events
from actprof.snapshots.memory_over_time import watch
from actprof.snapshots.recording import Recording, load_recording
from actprof.snapshots.rewind import find_start
from actprof.snapshots.what_if_replay import Question, WhatIfReplay
from actprof.units import GIB, KIB, MIB

SETTINGS = {"native": AllocatorConfig(), "expandable": AllocatorConfig(expandable_segments=True)}
ROUNDS = 5


class Recorder:
    """Writes down the requests of a program as PyTorch would record them."""

    def __init__(self) -> None:
        self.allocator = CachingAllocator()
        self.events: list[Event] = []

    def malloc(self, size_bytes: int) -> tuple[int, int]:
        """Return what `free` takes."""
        address = self.allocator.malloc(size_bytes)
        self.events.append(Event("alloc", address, size_bytes, 0))
        return address, size_bytes

    def free(self, block: tuple[int, int]) -> None:
        """Free a block."""
        self.allocator.free(block[0])
        self.events += (Event("free_requested", *block, 0), Event("free_completed", *block, 0))


def record_training(*, layers: int = 60, steps: int = 30) -> Recording:
    """Return a recording of `steps` training steps of a network of `layers` layers."""
    rng = random.Random(0)  # noqa: S311 - sizes, not secrets
    sizes = [rng.choice((4 * KIB, 600 * KIB, 3 * MIB, 9 * MIB, 25 * MIB)) + 12 * i for i in range(4 * layers)]
    recorder = Recorder()
    for _ in range(3 * layers):
        recorder.malloc(rng.randrange(4 * KIB, 8 * MIB))
    for _ in range(steps):
        saved, grads = [], []
        for size in sizes:
            saved.append(recorder.malloc(size))
            recorder.free(recorder.malloc(size // 3 + 512))
        for size in reversed(sizes):
            grads.append(recorder.malloc(size))
            recorder.free(saved.pop())
            if len(grads) > 2:
                recorder.free(grads.pop(0))
        for grad in grads:
            recorder.free(grad)
    return Recording(
        config=AllocatorConfig(),
        torch_version=(2, 11),
        from_empty=True,
        events=Events.of(recorder.events),
        final=recorder.allocator.snapshot(),
    )


def rate(recording: Recording, config: AllocatorConfig) -> tuple[float, int]:
    """Return events per second, the best of some rounds, and the peak of reserved bytes."""
    best, peak = 0.0, 0
    start_segments = find_start(recording).segments
    for _ in range(ROUNDS):
        replay = WhatIfReplay(recording, Question(label="", config=config), start=start_segments)
        start = time.perf_counter()
        course = watch(replay)
        best = max(best, len(recording.events) / (time.perf_counter() - start))
        peak = course.peaks[2]
    return best, peak


def replay_memory(recording: Recording) -> int:
    """Return the most bytes of Python objects that a replay adds to its recording."""
    tracemalloc.start()
    replay = WhatIfReplay(recording, Question(label="", config=AllocatorConfig()))
    watch(replay)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main(arguments: list[str]) -> None:
    """Print one line per recording: its events, and for each setting events per second and peak reserved."""
    recordings = {"training": record_training()}
    for folder in arguments:
        files = sorted(Path(folder).glob("*.json.gz"), key=lambda path: path.stat().st_size)[-5:]
        recordings |= {path.name.partition(".")[0]: load_recording(path) for path in files}
    print(f"{'recording':12} {'events':>7}", *(f"{name + '/s':>14} {'reserved':>10}" for name in SETTINGS))
    for name, recording in recordings.items():
        cells = [
            f"{speed:14,.0f} {peak / GIB:6.2f} GiB"
            for speed, peak in (rate(recording, config) for config in SETTINGS.values())
        ]
        print(f"{name:12} {len(recording.events):7}", *cells)
    training = recordings["training"]
    print(f"\n{'events':>9} {'memory of the replay':>21}")
    for steps in (30, 120, 480):
        recording = replace(training, events=record_training(steps=steps).events)
        print(f"{len(recording.events):9,} {replay_memory(recording) / KIB:17,.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
