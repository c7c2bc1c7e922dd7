"""Print how many events (allocations or frees) per second the simulated allocator replays on one core.

    python benchmarks/allocator_rate.py [FOLDER]

The program is made here and resembles training: parameters that stay, layers that save activations and use
short temporaries, a reverse pass that frees them. FOLDER may hold stripped recordings (*.json.gz); the five
largest are replayed as well.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.allocator.recording import Recording, load_recording
from actprof.units import GIB, KIB, MIB

Program = list[tuple[int, int]]  # (number of the tensor, its bytes; -1 = free it)
SETTINGS = {"native": AllocatorConfig(), "expandable": AllocatorConfig(expandable_segments=True)}
ROUNDS = 5


def make_training(layers: int = 60, steps: int = 30) -> Program:
    """Return the events of `steps` training steps of a network of `layers` layers."""
    rng = random.Random(0)  # noqa: S311 - sizes, not secrets
    sizes = [rng.choice((4 * KIB, 600 * KIB, 3 * MIB, 9 * MIB, 25 * MIB)) + 12 * i for i in range(4 * layers)]
    program: Program = [(tensor, rng.randrange(4 * KIB, 8 * MIB)) for tensor in range(3 * layers)]
    tensor = len(program)
    for _ in range(steps):
        saved, grads = [], []
        for size in sizes:
            program += [(tensor, size), (tensor + 1, size // 3 + 512), (tensor + 1, -1)]
            saved.append(tensor)
            tensor += 2
        for size in reversed(sizes):
            program += [(tensor, size), (saved.pop(), -1)]
            grads.append(tensor)
            tensor += 1
            if len(grads) > 2:
                program.append((grads.pop(0), -1))
        program += [(grad, -1) for grad in grads]
    return program


def make_program(recording: Recording) -> Program:
    """Return the allocations and frees of a recording, those of tensors from before it left out."""
    program: Program = []
    live: dict[int, int] = {}
    for event in recording.events:
        if event.action == "alloc":
            live[event.address] = len(program)
            program.append((len(program), event.size_bytes))
        elif event.action == "free_completed" and event.address in live:
            program.append((live.pop(event.address), -1))
    return program


def rate(program: Program, config: AllocatorConfig) -> tuple[float, int]:
    """Return events per second, the best of some rounds, and the peak of reserved bytes."""
    best, peak = 0.0, 0
    for _ in range(ROUNDS):
        allocator = CachingAllocator(config)
        malloc, free = allocator.malloc, allocator.free
        addresses: dict[int, int] = {}
        start = time.perf_counter()
        for tensor, size in program:
            if size >= 0:
                addresses[tensor] = malloc(size)
            else:
                free(addresses.pop(tensor))
        best = max(best, len(program) / (time.perf_counter() - start))
        peak = allocator.peak_reserved_bytes
    return best, peak


def main(arguments: list[str]) -> None:
    """Print one line per program: its events, and for each setting events per second and peak reserved."""
    programs = {"training": make_training()}
    for folder in arguments:
        files = sorted(Path(folder).glob("*.json.gz"), key=lambda path: path.stat().st_size)[-5:]
        programs |= {path.name.partition(".")[0]: make_program(load_recording(path)) for path in files}
    print(f"{'program':12} {'events':>7}", *(f"{name + '/s':>14} {'reserved':>10}" for name in SETTINGS))
    for name, program in programs.items():
        cells = [
            f"{speed:14,.0f} {peak / GIB:6.2f} GiB"
            for speed, peak in (rate(program, c) for c in SETTINGS.values())
        ]
        print(f"{name:12} {len(program):7}", *cells)


if __name__ == "__main__":
    main(sys.argv[1:])
