"""Measure the ground truth on the GPU of this machine, and add it to the accuracy ledger. Needs a CUDA GPU.

    python benchmarks/ground_truth.py FOLDER [--minutes 25]

Takes, in this order, as much as the minutes allow: scenarios/accuracy.yaml as a 24 GB RTX 3090; the
out-of-memory boundary of four set-ups; memory snapshots of four, each replayed by the simulated allocator and
compared with its prediction allocation by allocation; the scenario on the card as it is. FOLDER receives
everything; the rows go to reports/accuracy/rows.jsonl.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

import actprof
from actprof.measure.nvml import local_gpus
from actprof.records import to_plain

SCENARIO = Path(__file__).parents[1] / "scenarios" / "accuracy.yaml"
LEDGER = Path(__file__).parents[1] / "reports" / "accuracy"
EXPANDABLE = "expandable_segments:True"
SETUPS = (
    {"resolution": "640x480", "alloc_conf": ""},
    {"resolution": "640x480", "alloc_conf": EXPANDABLE},
    {"resolution": "224x224", "alloc_conf": ""},
    {"resolution": "224x224", "alloc_conf": EXPANDABLE},
)
CHUNK = {"chunk_size": 50, "n_action_steps": 50}


def sweep(folder: Path, *, capped: bool) -> None:
    """Measure the scenario, as an RTX 3090 or on the card as it is."""
    scenario = actprof.load_scenario(SCENARIO)
    if not capped:
        card = actprof.measure(batch_size=2, resolution="224x224", steps=1).cell.gpu
        scenario = replace(scenario, cells=tuple(replace(cell, gpu=card) for cell in scenario.cells))
    actprof.sweep(scenario, mode="measure", ground=False, out=folder)


def boundary(path: Path, setup: dict[str, str]) -> None:
    """Measure where an RTX 3090 stops."""
    result = actprof.measure(
        overrides=CHUNK, gpu="RTX 3090", batch_size=8, boundary=True, command=_command(setup), **setup
    )
    path.write_text(json.dumps(result.to_json(curve=False)), encoding="utf-8")


def _command(setup: dict[str, str]) -> str:
    conf = f" --alloc-conf {setup['alloc_conf']}" if setup["alloc_conf"] else ""
    return (
        "actprof measure --set chunk_size=50 --set n_action_steps=50 --as 'RTX 3090' "
        f"--resolution {setup['resolution']} --batch-size 8 --boundary{conf}"
    )


def snapshot(path: Path, setup: dict[str, str]) -> None:
    """Record one run; write down how the simulated allocator and the prediction differ from it."""
    result = actprof.measure(overrides=CHUNK, batch_size=8, steps=5, snapshot=path, **setup)
    found = {
        "cell": result.cell.to_json(),
        "verification": to_plain(actprof.verify_snapshot(path)),
        "unmatched": to_plain(actprof.compare_snapshot(path, result.cell)),
    }
    path.with_suffix(".json").write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--minutes", default=25.0, show_default=True, help="No further piece is begun after so many.")
def main(*, folder: Path, minutes: float) -> None:
    """Measure the ground truth into FOLDER."""
    if not local_gpus():
        raise click.UsageError("no NVIDIA GPU here")
    folder.mkdir(parents=True, exist_ok=True)
    pieces: list[tuple[str, Callable[[Path], None]]] = [("as-3090", lambda p: sweep(p, capped=True))]
    for index, setup in enumerate(SETUPS):
        name = f"boundary-{index}.json"
        pieces.append((name, lambda path, setup=setup: boundary(path, setup)))
    for index, setup in enumerate(SETUPS):
        name = f"snapshot-{index}.pickle"
        pieces.append((name, lambda path, setup=setup: snapshot(path, setup)))
    pieces.append(("as-it-is", lambda path: sweep(path, capped=False)))
    start = time.monotonic()
    for name, take in pieces:
        if time.monotonic() - start > 60 * minutes:
            print(f"{name}: no time left")
            continue
        try:
            take(folder / name)
        except actprof.ActprofError as error:
            print(f"{name}: {error}")
            continue
        print(f"{name}: done after {time.monotonic() - start:.0f} s", flush=True)
    results = [path for path in folder.iterdir() if path.is_dir() or path.name.startswith("boundary")]
    actprof.accuracy(LEDGER, add=sorted(results))


if __name__ == "__main__":
    sys.exit(main())
