"""Measure many cells on the first GPU of this machine, each in a process of its own, some side by side.

    python benchmarks/gpu/measure_many.py FOLDER [--seconds 400] [--parallel 5] [--gib 70] [--dry-run]

One process imports torch and lerobot and forks for each run, so that a run costs seconds and not the import;
it never starts CUDA itself. Runs go through actprof's own measuring code, as `actprof measure` does. Writes
machine.json, cells.jsonl (what `benchmarks/measured_rows.py` reads) and recordings/*.json.gz (see
`strip_recording.py`). Only runs that are alone on the GPU tell seconds. Jobs begin in their order; what the
seconds leave no time for is named.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import click
import torch
from _common import process_bytes, write_json_gz
from _jobs import Job, jobs
from strip_recording import read_pickle, strip

from actprof.hardware import builtin_catalogue
from actprof.measuring.boundary import bracket_boundary
from actprof.measuring.choose_device import choose_gpu
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.request import Answer
from actprof.measuring.worker import answer, make_build, make_device
from actprof.records import to_plain

_FORK = multiprocessing.get_context("fork")
_SMI = "name,driver_version,clocks.max.sm,power.limit,memory.total,memory.used,ecc.mode.current"
_SECONDS = 120.0  # for one run
_SECONDS_TO_END = 10.0

Row = dict[str, Any]


# -- one run, in a process that has just been forked ---------------------------------------------------------


def measure(job: Job, folder: Path, device: str) -> Row:
    """Run a job's cell in this process and return its row."""
    run = Run(choice=choose_gpu(job.cell, usable_gpus(), builtin_catalogue(), device=device))
    _set_environment(run._environment(job.cell))
    if job.cell.alloc_conf and device != "cpu":
        torch.cuda.memory._set_allocator_settings(job.cell.alloc_conf)  # torch may have read them already
    request = replace(run._request(job.cell), steps=job.steps)
    with tempfile.TemporaryDirectory() as temporary:
        snapshot = Path(temporary) / "snapshot.pickle"
        if job.recorded:
            request = replace(request, purpose="snapshot", snapshot=str(snapshot))
        found = answer(request, make_device(request), make_build(request))
        row = row_of(job, found, run.choice.workspace_config)
        if job.recorded:
            about = {"name": job.name, "cell": job.cell.to_json(), "steps": job.steps}
            stripped = strip(read_pickle(snapshot), torch=torch.__version__, job=about)
            write_json_gz(folder / "recordings" / f"{job.name}.json.gz", stripped)
    return row


def _set_environment(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def row_of(job: Job, found: Answer, workspace_config: str) -> Row:
    """Return the row of a run that ended, be it without memory; `process_bytes` are those of now."""
    taken, on_gpu = found.measurement, found.device.type == "cuda"
    steps = [[one.peak_allocated_bytes, one.peak_reserved_bytes, one.retries] for one in taken.step_memory]
    names = ("forward_seconds", "backward_seconds", "optimizer_seconds")
    return {
        **_base(job),
        "steps": steps,
        "cap_bytes": taken.cap_bytes,
        "oom": to_plain(found.oom),
        "encoder_tokens": found.encoder_tokens,
        "parameters": found.parameters,
        "update_seconds": to_plain(found.step_seconds),
        **{name: to_plain(getattr(taken, name)) for name in names},
        "process_bytes": process_bytes() if on_gpu else None,
        "reserved_bytes_at_the_end": torch.cuda.memory_reserved() if on_gpu else 0,
        "cublas_workspace_config": workspace_config,
    }


def _base(job: Job, error: str | None = None) -> Row:
    return {
        "name": job.name,
        "cell": job.cell.to_json(),
        "alone_on_the_gpu": job.alone,
        "error": error,
        "steps": [],
    }


def machine() -> Row:
    """Return which card it is, in this process."""
    smi = ["nvidia-smi", f"--query-gpu={_SMI}", "--format=csv", "--id=0"]
    card = torch.cuda.get_device_properties(0)
    return {
        "smi": subprocess.run(smi, capture_output=True, text=True, check=True).stdout,
        "name": card.name,
        "total": card.total_memory,
        "sms": card.multi_processor_count,
        "cudnn": torch.backends.cudnn.version(),
    }


# -- many of them -------------------------------------------------------------------------------------------


def in_fresh_process(work: Callable[..., Row], *arguments: Any, seconds: float = _SECONDS) -> Row | str:
    """Return what `work` returns in a forked process, or why there is nothing."""
    receive, send = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_tell, args=(send, work, *arguments))
    process.start()
    send.close()
    try:
        found = receive.recv() if receive.poll(seconds) else f"no answer within {seconds:.0f} s"
    except EOFError:
        found = "it died without an answer"
    if isinstance(found, dict):
        process.join(_SECONDS_TO_END)  # so that its memory is free before the next one begins
    process.kill()
    process.join()
    return found


def _tell(pipe: Connection, work: Callable[..., Row], *arguments: Any) -> None:
    try:
        pipe.send(work(*arguments))
    except Exception as error:  # noqa: BLE001 - the next run may well go
        pipe.send(f"{type(error).__name__}: {error}")


def do(job: Job, folder: Path, device: str, deadline: float) -> None:
    """Run a job, or the batch sizes that its search tries, each in a fresh process; write the rows."""

    def runs(batch_size: int) -> bool:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.name}: no time left to try batch size {batch_size}")
        name = f"{job.name}-{batch_size}" if job.guess else job.name
        one = replace(job, name=name, cell=replace(job.cell, batch_size=batch_size))
        row = in_fresh_process(measure, one, folder, device)
        row = _base(one, row) if isinstance(row, str) else row
        with (folder / "cells.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name}: {row['error'] or ('out of memory' if row['oom'] else 'ran')}", flush=True)
        if row["error"] and job.guess:
            raise RuntimeError(f"{name}: {row['error']}")
        return not row["error"] and row["oom"] is None

    if job.guess:
        print(f"{job.name}: the largest is {bracket_boundary(runs, guess=job.guess)}", flush=True)
    else:
        runs(job.cell.batch_size)


def may_begin(job: Job, running: Collection[Job], *, parallel: int, gib: float) -> bool:
    """Tell whether a job may run beside others."""
    if not running:
        return True
    if job.alone or any(other.alone for other in running) or len(running) >= parallel:
        return False
    return job.gib + sum(other.gib for other in running) <= gib


def serve(
    waiting: list[Job], folder: Path, *, device: str, seconds: float, parallel: int, gib: float
) -> list[Job]:
    """Do jobs until none is left or the seconds are over, and return those that were not begun."""
    deadline, waiting = time.monotonic() + seconds, list(waiting)
    running: dict[BaseProcess, Job] = {}
    while running or (waiting and time.monotonic() < deadline):
        running = {process: job for process, job in running.items() if process.is_alive()}
        in_time = waiting and time.monotonic() < deadline
        if in_time and may_begin(waiting[0], running.values(), parallel=parallel, gib=gib):
            job = waiting.pop(0)
            process = _FORK.Process(target=do, args=(job, folder, device, deadline))
            process.start()
            running[process] = job
        else:
            time.sleep(0.1)
    return waiting


def import_everything() -> None:
    """Import what runs need, so that none of them has to; CUDA stays untouched.

    Raises:
        RuntimeError: something started CUDA, which no forked process could use then.
    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a GPU is looked for without starting CUDA
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from actprof.quiet import quiet_imports

    with quiet_imports():
        import lerobot.policies.factory
        import lerobot.scripts.lerobot_train  # noqa: F401

        import actprof.policies.workload  # noqa: F401
    if torch.cuda.is_initialized():
        raise RuntimeError("importing lerobot started CUDA: no forked process can use it")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", default=400.0, show_default=True, help="No run is begun after so many.")
@click.option("--parallel", default=5, show_default=True, help="Runs beside each other, at most.")
@click.option("--gib", default=70.0, show_default=True, help="That these may take together.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--only", default="", help="Only jobs whose names begin so.")
@click.option("--dry-run", is_flag=True, help="Name the jobs.")
def main(*, folder: Path, device: str, only: str, dry_run: bool, **limits: Any) -> None:
    """Measure into FOLDER; rows that are there stay."""
    asked = [job for job in jobs() if job.name.startswith(only)]
    print(f"{len(asked)} jobs, {sum(job.guess > 0 for job in asked)} of them searches")
    if dry_run:
        print(*(job.name for job in asked), sep="\n")
        return
    folder.mkdir(parents=True, exist_ok=True)
    import_everything()
    if device != "cpu":
        found = in_fresh_process(machine)
        if isinstance(found, str):
            raise click.ClickException(f"no GPU to measure on: {found}")
        (folder / "machine.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for job in serve(asked, folder, device=device, **limits):
        print(f"{job.name}: no time left")


if __name__ == "__main__":
    main()
