"""Print our predictions beside what others measured on real GPUs and published.

    python benchmarks/published.py

Sources: RTX 5060 Ti 16 GB, torch 2.11.0+cu128, lerobot's `mem_gb` and nvidia-smi's peak (15 MiB idle), from
github.com/emboss369/project-physical-ai, build-log-008; two cameras 640x480, chunk size 100, AdamW, fp32.
"""

from __future__ import annotations

import actprof
from actprof.units import GIB, MIB

MEASURED = {8: (3.73, 4717 - 15), 16: (6.85, 8199 - 15), 32: (13.10, 14855 - 15)}


def main() -> None:
    """Print one row per published batch size."""
    print("| batch | published mem_gb | predicted | difference | nvidia-smi | predicted | difference |")
    print("|---|---|---|---|---|---|---|")
    for batch_size, (mem_gb, process_mib) in MEASURED.items():
        result = actprof.predict(batch_size=batch_size, gpu="RTX 5060 Ti")
        allocated, process = result.peak_allocated_bytes / GIB, result.peak_process_bytes / MIB
        print(
            f"| {batch_size} | {mem_gb:.2f} GiB | {allocated:.3f} GiB | {allocated - mem_gb:+.3f} GiB "
            f"| {process_mib} MiB | {process:.0f} MiB | {process - process_mib:+.0f} MiB |"
        )
    oom = actprof.predict(batch_size=64, gpu="RTX 5060 Ti").oom
    print(f"\nbatch 64: {oom.phase} of step {oom.step}, {oom.module}: {oom.message.partition(' Of the')[0]}")


if __name__ == "__main__":
    main()
