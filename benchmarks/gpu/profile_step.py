"""Record which kernels each op of one training step launches, and how long they take.

    python benchmarks/gpu/profile_step.py FOLDER [--resolution 640x480] [--batch-size 16] [--name NAME]

Writes profiles/NAME.profile.json.gz: the `cell`; `ops`, rows of [op, input shapes, whether it is an
annotation, thread, [kernel, microseconds] of each, microseconds of the CPU]; `device_events`, rows of [name,
start, end] in microseconds; and the seconds of a step without the profiler (the median of eight) and with it.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import click
import torch
from _common import write_json_gz
from torch.profiler import ProfilerActivity, profile

from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.measuring.request import Request
from actprof.measuring.worker import make_build, make_device
from actprof.policies.accelerator import no_phase

_WARM_UP, _PLAIN = 4, 8
_CPU = torch.autograd.DeviceType.CPU


def profile_cell(cell: Cell, device_type: str) -> dict[str, Any]:
    """Run some steps of a cell in this process and profile one more."""
    request = Request(cell=cell, device_type=device_type)
    device = make_device(request)
    device.prepare(cap_bytes=None, cudnn_benchmark=cell.cudnn_benchmark)
    workload = make_build(request)(no_phase)

    def step() -> float:
        start = time.perf_counter()
        workload.step()
        device.synchronize()
        return time.perf_counter() - start

    plain = [step() for _ in range(_WARM_UP + _PLAIN)][_WARM_UP:]
    on_gpu = [ProfilerActivity.CUDA] if device_type == "cuda" else []
    with profile(activities=[ProfilerActivity.CPU, *on_gpu], record_shapes=True) as profiler:
        profiled = step()
    return {
        "cell": cell.to_json(),
        **rows_of(profiler.events()),
        "plain_step": statistics.median(plain),
        "profiled_step": profiled,
    }


def rows_of(events: Any) -> dict[str, list[Any]]:
    """Return the rows of what a profiler saw: ops that launched something, and what the device did."""
    here = [event for event in events if event.device_type == _CPU]
    there = [event for event in events if event.device_type != _CPU]
    return {
        "ops": [
            [
                event.name,
                event.input_shapes,
                event.is_user_annotation,
                event.thread,
                [[kernel.name, kernel.duration] for kernel in event.kernels],
                event.cpu_time_total,
            ]
            for event in here
            if event.kernels
        ],
        "device_events": [[event.name, event.time_range.start, event.time_range.end] for event in there],
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--resolution", default="640x480", show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--name", help="Of the file.")
@click.option("--device", default="cuda", show_default=True)
def main(*, folder: Path, resolution: str, batch_size: int, name: str | None, device: str) -> None:
    """Profile a step of ACT with chunks of 50 into FOLDER."""
    chunk = {"chunk_size": 50, "n_action_steps": 50}
    cell = make_cell(overrides=chunk, resolution=resolution, batch_size=batch_size, default_gpu=None)
    found = profile_cell(cell, device)
    print(f"{len(found['ops'])} ops, {found['plain_step']:.4f} s, profiled {found['profiled_step']:.4f} s")
    name = name or f"prof-{resolution}x{cell.cameras}-b{batch_size}"
    write_json_gz(folder / "profiles" / f"{name}.profile.json.gz", found)


if __name__ == "__main__":
    main()
