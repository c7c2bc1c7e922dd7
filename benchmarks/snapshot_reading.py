"""Print how fast a large snapshot is read and replayed, and how much memory that takes.

    python benchmarks/snapshot_reading.py [MEGABYTES]

The file is synthetic: the recording of tests/data/native-retry.pickle over and over, with stacks of 60
frames, as `torch.cuda.memory._dump_snapshot` would pickle it. It goes to a temporary folder. Needs Linux.
"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from actprof.units import MIB

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "data" / "native-retry.pickle"
DEPTH = 60
_BYTES_PER_EVENT = 350  # roughly, at this depth
STATED_BYTES = 64  # per event, see docs/snapshots.md


def write(path: Path, megabytes: int) -> None:
    """Write a snapshot of about so many megabytes; a round frees all, so that the next can begin."""
    with SOURCE.open("rb") as file:
        snapshot = pickle.load(file)  # noqa: S301 - a file of this repository
    trace = snapshot["device_traces"][0]
    frames = [{"name": f"f{i}", "filename": f"/home/me/model_{i % 40}.py", "line": i} for i in range(2000)]
    stacks = [[frames[(7 * i + 13 * k) % 2000] for k in range(DEPTH)] for i in range(len(trace))]
    live = {}
    for event in trace:
        if event["action"] == "alloc":
            live[event["addr"]] = event
        elif event["action"] == "free_completed":
            live.pop(event["addr"], None)
    ends = [
        {**event, "action": action}
        for event in live.values()
        for action in ("free_requested", "free_completed")
    ]
    rounds = max(1, megabytes * 10**6 // (_BYTES_PER_EVENT * len(trace)))
    events = [
        {**event, "frames": list(stacks[i % len(trace)])}
        for _ in range(rounds)
        for i, event in enumerate([e for e in trace if not e["action"].startswith("segment")] + ends)
    ]
    snapshot["device_traces"] = [events]
    with path.open("wb") as file:
        pickle.dump(snapshot, file, protocol=4)


def measure(path: Path) -> None:
    """Read and replay a file in this process, and print what that took."""
    from actprof.snapshots.memory_over_time import watch
    from actprof.snapshots.recording import open_recording
    from actprof.snapshots.what_if_replay import Question, WhatIfReplay

    open_recording(SOURCE)
    before = _most_memory()
    start = time.perf_counter()
    recording = open_recording(path)
    read_seconds, read_bytes = time.perf_counter() - start, _most_memory() - before
    count = len(recording.events)
    start = time.perf_counter()
    watch(WhatIfReplay(recording, Question(label="")))
    replay_seconds, replay_bytes = time.perf_counter() - start, _most_memory() - before - read_bytes
    size = path.stat().st_size
    print(f"{size / 1e6:,.0f} MB, {count:,} events")
    print(
        f"read   {read_seconds:6.1f} s {size / 1e6 / read_seconds:10,.0f} MB/s {read_bytes / MIB:8,.0f} MiB, "
        f"{read_bytes / count:.0f} bytes per event (stated: {STATED_BYTES}, and 24 MiB)"
    )
    rate = count / replay_seconds
    print(f"replay {replay_seconds:6.1f} s {rate:10,.0f} events/s {replay_bytes / MIB:4,.0f} MiB more")


def _most_memory() -> int:
    """Return the most memory that this process has had; `ru_maxrss` would count its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) * 1024


def main(arguments: list[str]) -> None:
    """Write a file, then measure in a process of its own, whose memory is not that of the writing."""
    if arguments[:1] == ["--measure"]:
        measure(Path(arguments[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot.pickle"
        write(path, int(arguments[0]) if arguments else 500)
        subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
