"""Turn the runs of one machine into rows of the accuracy ledger. Needs no GPU, and predicts the rows.

    python benchmarks/measured_rows.py CELLS --machine MACHINE --torch 2.11.0+cu130 --date 2026-11-25

CELLS has one run a line: its `cell`, [peak allocated, peak reserved, retries] of each of its `steps`, what
NVML said of the process, seconds, and the out-of-memory report. MACHINE says which card it was. A run is a
row, and its last step the settled one; repeated runs are told apart by their names. Where a batch size ran
and the next one ran out, the row of the former has the largest batch size. Runs that are no training by one
process of a policy that can be traced are left out, and named.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from actprof.cell import Cell
from actprof.hardware import find_gpu
from actprof.hardware.workspaces import parse_workspace_config
from actprof.ledger.keep import read_rows, refresh, write_rows
from actprof.ledger.row import AccuracyRow, row_of
from actprof.measurement import CardUse, DeviceFacts, Measurement, Spread, StepMemory
from actprof.out_of_memory import OutOfMemory
from actprof.policies import policy_names
from actprof.policies.vqbet import NEVER_ENDS
from actprof.records import from_plain
from actprof.results import MEASURED, GpuUse, Result, Verdict
from actprof.words import cell_command

LEDGER = Path(__file__).parents[1] / "reports" / "accuracy"
# What older cells do not say, as there were no fields for it. SmolVLA's recordings have 193 tokens: 64 of
# each of two cameras, the state, 50 actions, and 14 of the task. VQ-BeT was always in its first training.
_UNSAID: dict[str, dict[str, Any]] = {
    "smolvla": {"task_tokens": 14},
    "vqbet": {"overrides": {"n_vqvae_training_steps": NEVER_ENDS}},
}


def read_machine(path: Path, *, torch: str) -> tuple[DeviceFacts, dict[str, str]]:
    """Return the card of `path`, and the versions of what ran on it."""
    found = json.loads(path.read_text(encoding="utf-8"))
    (shown,) = csv.DictReader(found["smi"].splitlines(), skipinitialspace=True)
    major, rest = divmod(found["cudnn"], 10_000)
    minor, patch = divmod(rest, 100)
    device = DeviceFacts(
        type="cuda",
        name=found["name"],
        total_bytes=found["total"],
        driver=shown["driver_version"],
        cudnn=f"{major}.{minor}.{patch}",
    )
    return device, {"torch": torch}


def cell_of_run(run: Mapping[str, Any]) -> Cell:
    """Return the cell of one run, as it was written down."""
    fields = run["cell"]
    unsaid = {
        name: value for name, value in _UNSAID.get(fields["policy"], {}).items() if not fields.get(name)
    }
    shared = {"strategy": "ddp", **run["ddp"]} if "ddp" in run else {}
    return Cell.from_json({**fields, **unsaid, **shared})


def row_of_run(
    run: Mapping[str, Any], *, device: DeviceFacts, versions: Mapping[str, str], date: str
) -> AccuracyRow:
    """Return the row of one run, without a prediction."""
    asked = cell_of_run(run)
    cell = replace(asked, gpu=asked.gpu or find_gpu(device.name).name)
    memory = tuple(_step_memory(*step) for step in run["steps"])
    settled = memory[1:] if cell.cudnn_benchmark else memory
    seconds = run["update_seconds"] if run["alone_on_the_gpu"] else None
    measured = Result(
        source=MEASURED,
        cell=cell,
        gpu=GpuUse(name=device.name, capacity_bytes=device.total_bytes, context_bytes=0),
        peak_allocated_bytes=memory[-1].peak_allocated_bytes,
        peak_reserved_bytes=memory[-1].peak_reserved_bytes,
        peak_process_bytes=run["process_bytes"],
        retries=sum(step.retries for step in settled),
        verdict=Verdict.OOM if run["oom"] else Verdict.FITS,
        oom=None if run["oom"] is None else from_plain(OutOfMemory, run["oom"]),
        step_seconds=None if seconds is None else from_plain(Spread, seconds),
        versions=versions,
        device=device,
        measurement=Measurement(
            cap_bytes=run["cap_bytes"],
            card=CardUse(samples=1, process_bytes=run["process_bytes"]),
            date=date,
        ),
    )
    config = run["cublas_workspace_config"]
    source = f"measured by actprof on one {device.name}: {len(memory)} steps, a process of its own"
    row = row_of(measured)
    # Of one that got through nothing is known but that.
    ran = row.measured if run["oom"] else replace(row.measured, verdict="ran")
    return replace(
        row,
        measured=ran,
        run=run["name"],
        command=cell_command(asked, "measure"),
        cublas_workspace_bytes=parse_workspace_config(config) if config else None,
        source=source if run["alone_on_the_gpu"] else f"{source}, others on the card",
    )


def _step_memory(allocated: int, reserved: int, retries: int) -> StepMemory:
    return StepMemory(peak_allocated_bytes=allocated, peak_reserved_bytes=reserved, retries=retries)


def with_boundaries(rows: Iterable[AccuracyRow]) -> tuple[AccuracyRow, ...]:
    """Return the rows; where a batch size ran and the next one ran out, those of the former say so."""
    known = tuple(rows)
    series = [_series(row) for row in known]
    ran_out = {
        (place, row.cell.batch_size)
        for place, row in zip(series, known, strict=True)
        if not row.measured.runs
    }

    def is_largest(place: tuple[object, ...], size: int) -> bool:
        return (place, size) not in ran_out and (place, size + 1) in ran_out

    return tuple(
        replace(row, measured=replace(row.measured, max_batch_size=row.cell.batch_size))
        if is_largest(place, row.cell.batch_size)
        else row
        for place, row in zip(series, known, strict=True)
    )


def _series(row: AccuracyRow) -> tuple[object, ...]:
    """Return what the runs of one search for the largest batch size have in common."""
    alike = replace(row.cell, batch_size=2 * row.cell.micro_batches)
    return replace(row, cell=alike).command_key


def why_left_out(run: Mapping[str, Any]) -> str:
    """Return why a run is no row, or nothing."""
    if run["cell"]["policy"] not in policy_names():
        return f"the policy {run['cell']['policy']} cannot be traced"
    if "ddp" in run:
        return "it ran under DDP"
    return f"it failed ({run['error']})" if run["error"] else ""


@click.command()
@click.argument("cells", type=click.Path(path_type=Path, exists=True))
@click.option("--machine", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--torch", required=True, help="PyTorch's version in those runs.")
@click.option("--date", required=True, help="Of the measurement, ISO 8601.")
@click.option("--ledger", type=click.Path(path_type=Path), default=LEDGER)
def main(*, cells: Path, machine: Path, torch: str, date: str, ledger: Path) -> None:
    """Add the runs in CELLS to the accuracy ledger; one that is there already is replaced."""
    device, versions = read_machine(machine, torch=torch)
    runs = [json.loads(line) for line in cells.read_text(encoding="utf-8").splitlines()]
    taken = []
    for run in runs:
        if reason := why_left_out(run):
            print(f"{run['name']}: left out, {reason}")
        else:
            taken.append(row_of_run(run, device=device, versions=versions, date=date))
    added = refresh(with_boundaries(taken), listener=lambda state: print(state.text, flush=True))
    kept = {row.key: row for row in read_rows(ledger, missing_ok=True)}
    write_rows(ledger, (kept | {row.key: row for row in added}).values())
    print(f"{len(added)} rows added to {ledger}")


if __name__ == "__main__":
    main()
