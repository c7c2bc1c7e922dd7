"""Print what a loader's processes hold of the host's memory beside the formula, and what their imports hold.

    python benchmarks/host_memory.py

Each loader has a process of its own, as a training run has. Imports are read with and without the libraries
that lerobot imports where they are installed: a worker that is started anew has them all again.
"""

from __future__ import annotations

import subprocess
import sys

from actprof.loading.measure import measure_loading
from actprof.loading.plan import LoaderQuestion
from actprof.units import MIB

SETTINGS = [
    ("spawn", 1, 4, 8), ("spawn", 2, 4, 8), ("spawn", 2, 2, 8), ("spawn", 2, 2, 32),
    ("fork", 1, 4, 8), ("fork", 2, 4, 8), ("fork", 2, 2, 32), ("spawn", 0, 4, 8), ("spawn", 0, 4, 32),
]  # fmt: skip
HIDDEN = ("transformers diffusers peft", "diffusers", "")
_IMPORTS = """
import sys
for name in sys.argv[1].split():
    sys.modules[name] = None
import psutil
def own():
    return sum(part.anonymous for part in psutil.Process().memory_maps(grouped=True)) >> 20
import torch
seen = [own()]
import lerobot.datasets.lerobot_dataset
seen.append(own())
import lerobot.scripts.lerobot_train
print(*seen, own())
"""


def loaders() -> None:
    """Print a row for each setting: the main process, its workers and /dev/shm, measured and predicted."""
    print("start method, workers x prefetch, batch | main | workers | /dev/shm in bytes")
    for method, workers, ahead, size in SETTINGS:
        question = LoaderQuestion(
            synthetic=(2, 640, 480), storages=("video",), backends=("pyav",), workers=(workers,),
            batch_sizes=(size,), prefetch_factor=ahead, start_method=method, seconds=1.0,
        )  # fmt: skip
        row = measure_loading(question).rows[-1]
        found, said = row.memory, row.predicted_memory
        if found is None or said is None:
            print(f"{method} {workers} x {ahead}, {size} | {row.reason}")
            continue
        own = ", ".join(f"{size / MIB:.0f}" for size in found.workers_bytes)
        print(
            f"{method} {workers} x {ahead}, {size} | {(found.main_bytes or 0) / MIB:.0f} "
            f"({said.main_bytes / MIB:.0f}) | {own} ({said.worker_bytes / MIB:.0f}) | "
            f"{found.shm_bytes} ({said.shm_bytes})",
            flush=True,
        )


def imports() -> None:
    """Print what a process holds after each import, with libraries hidden from lerobot."""
    print("\nMiB after torch, lerobot's datasets, lerobot_train | without")
    for hidden in HIDDEN:
        shown = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _IMPORTS, hidden],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"{shown.stdout.splitlines()[-1]} | {hidden or '(all are there)'}", flush=True)


if __name__ == "__main__":
    imports()
    loaders()
