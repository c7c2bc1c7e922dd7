"""Record lerobot's ACT on a CUDA GPU and strip the recordings to numbers. To be run with a GPU.

    python tests/data/record_snapshots.py FOLDER

Each recording is a process of its own, so that it starts from an empty allocator: batch sizes 2, 4 and 8 with
native and with expandable segments; one run under a memory fraction that it survives by retries, and one
under a fraction that it does not. FOLDER receives one gzip JSON each, without file names, times or stacks.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

NATIVE, EXPANDABLE = "", "expandable_segments:True"
RUNS = [
    *((f"act-{batch}-native", NATIVE, batch, 1.0) for batch in (2, 4, 8)),
    *((f"act-{batch}-expandable", EXPANDABLE, batch, 1.0) for batch in (2, 4, 8)),
]
STEPS = 3


def train(batch_size: int, fraction: float, target: str) -> None:
    """Record some training steps of ACT in this process; leave the snapshot in `target`."""
    import torch

    from actprof import Cell
    from actprof.policies.accelerator import StepAccelerator
    from actprof.policies.workload import build_workload

    torch.cuda.memory._record_memory_history(max_entries=1_000_000)
    if fraction < 1:
        torch.cuda.set_per_process_memory_fraction(fraction)
    try:
        cell = Cell(batch_size=batch_size, resolution="320x240")
        accelerator = StepAccelerator(device_type="cuda", phase=lambda _name: nullcontext())
        workload = build_workload(cell, torch.device("cuda"), accelerator=accelerator)
        for _ in range(STEPS):
            workload.step()
    except torch.OutOfMemoryError as error:
        sys.stderr.write(f"{error}\n")
    peak = torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.memory._dump_snapshot(target)
    sys.stdout.write(f"{peak}\n")


def strip(snapshot: dict, version: str) -> dict:
    """Return the numbers of device 0 of a snapshot."""
    events, segments = snapshot["device_traces"][0], snapshot["segments"]
    actions = sorted({event["action"] for event in events})
    return {
        "torch": version,
        "actions": actions,
        "allocator_settings": snapshot["allocator_settings"],
        "events": [
            [actions.index(e["action"]), e.get("addr", e.get("device_free", 0)), e["size"], e["stream"]]
            for e in events
        ],
        "final_segments": [
            [
                s["address"], s["total_size"], s["stream"], s["segment_type"], s["is_expandable"],
                [[b["address"], b["size"], b["requested_size"], b["state"]] for b in s["blocks"]],
            ]
            for s in segments
            if s["device"] == 0
        ],
    }  # fmt: skip


def record(folder: Path, name: str, conf: str, batch_size: int, fraction: float) -> float:
    """Record one run in a process of its own; return the part of the device that it reserved."""
    import torch

    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "snapshot.pickle"
        command = [sys.executable, __file__, "--train", str(batch_size), str(fraction), str(target)]
        environment = os.environ | {"PYTORCH_CUDA_ALLOC_CONF": conf}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        with target.open("rb") as file:
            data = strip(pickle.load(file), torch.__version__)  # noqa: S301 - written by our own process above
    with gzip.open(folder / f"{name}.json.gz", "wt", encoding="utf-8") as file:
        json.dump(data, file, separators=(",", ":"))
    return float(done.stdout.split()[-1])


def main(arguments: list[str]) -> None:
    """Record all runs; the fractions of the last two follow from what batch size 8 needed."""
    if arguments[:1] == ["--train"]:
        train(int(arguments[1]), float(arguments[2]), arguments[3])
        return
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: record(folder, name, *run) for name, *run in RUNS}
    need = parts["act-8-native"]
    record(folder, "act-8-retry", NATIVE, 8, 0.97 * need)
    record(folder, "act-8-oom", NATIVE, 8, 0.6 * need)


if __name__ == "__main__":
    main(sys.argv[1:])
