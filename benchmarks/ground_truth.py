"""Measure the ground truth on the GPU of this machine, and add it to the accuracy ledger. Needs a CUDA GPU.

    python benchmarks/ground_truth.py FOLDER [--minutes 8] [--only-measure]

Takes, in this order, as much as the minutes allow: the card as it is at batch sizes 8 to 64; the
out-of-memory boundary of a 24 GB RTX 3090 for four set-ups; memory snapshots of the same four; the card as it
is under other settings; scenarios/accuracy.yaml as an RTX 3090. Each run is a file in FOLDER, written whole
when it is known, and a run that is there is not repeated: a second call goes on where the first one stopped,
also one that was killed. A call that begins nothing after 8 minutes is over after 10, whatever hangs.

Nothing is predicted meanwhile. What needs no GPU comes last, or in a later call that may do without one: the
rows go to reports/accuracy/rows.jsonl, and each snapshot is replayed by the simulated allocator and compared
with its prediction.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

import actprof
from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.files import write_whole
from actprof.hardware import builtin_catalogue
from actprof.measurement import Measurement
from actprof.measuring.boundary import STEPS, measure_boundary
from actprof.measuring.choose_device import choose_gpu, on_this_card
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.records import to_plain
from actprof.results import Result
from actprof.versions import library_versions

SCENARIO = Path(__file__).parents[1] / "scenarios" / "accuracy.yaml"
LEDGER = Path(__file__).parents[1] / "reports" / "accuracy"
CHUNK = {"chunk_size": 50, "n_action_steps": 50}
RESOLUTIONS = ("640x480", "224x224")
EXPANDABLE = "expandable_segments:True"
# Resolution, settings, and where the search for the boundary begins: near it two runs are enough.
SETUPS = (
    ("640x480", "", 57),
    ("224x224", "", 371),
    ("640x480", EXPANDABLE, 60),
    ("224x224", EXPANDABLE, 379),
)
SECONDS = 110.0  # for one process, of which most is lerobot's import
PATIENCE = 3  # so many failures and nothing known, and the rest would only cost the same

Take = Callable[[Path, float], None]
Piece = tuple[str, Take]


class NoTimeLeftError(Exception):
    """What was found so far is stored."""


def run_of(cell: Cell) -> tuple[Run, Cell]:
    """Return how `cell` is measured here; one that names no GPU becomes one of the card that is here."""
    catalogue = builtin_catalogue()
    choice = choose_gpu(cell, usable_gpus(), catalogue, device="cuda")
    return Run(choice=choice, timeout=SECONDS), on_this_card(cell, choice, catalogue)


def check_time(deadline: float) -> None:
    """Raise `NoTimeLeftError` when nothing more may be begun."""
    if time.monotonic() >= deadline:
        raise NoTimeLeftError


def _command(cell: Cell, *more: str) -> str:
    words = ["actprof", "measure", "--resolution", cell.resolution, "--batch-size", str(cell.batch_size)]
    words += [word for name, value in CHUNK.items() for word in ("--set", f"{name}={value}")]
    words += ["--as", cell.gpu] if cell.gpu else []
    words += ["--cap", f"{cell.capacity_bytes}B"] if cell.capacity_bytes else []
    words += ["--alloc-conf", cell.alloc_conf] if cell.alloc_conf else []
    words += [] if cell.cudnn_benchmark else ["--no-cudnn-benchmark"]
    return shlex.join([*words, *more])


def _save(result: Result, path: Path, *more: str) -> None:
    """Write a result and the command that repeats it; a run that failed is tried again by the next call."""
    run = result.measurement or Measurement()
    if result.verdict == "error":
        raise actprof.ActprofError("\n  ".join((result.reason, *run.stderr)))
    result = replace(result, measurement=replace(run, command=_command(result.cell, *more)))
    write_whole(path, json.dumps(result.to_json(curve=False)).encode())


def one(path: Path, _deadline: float, *, cell: Cell) -> None:
    """Measure one cell; of a card that plays another no seconds count, so that ten steps are enough."""
    run, cell = run_of(cell)
    if run.choice.plays:
        _save(replace(run, steps=STEPS).measure(cell), path, "--steps", str(STEPS))
    else:
        _save(run.measure(cell), path)


def boundary(path: Path, deadline: float, *, cell: Cell, guess: int) -> None:
    """Measure where a card stops; the batch sizes that were tried are files of their own."""
    run, cell = run_of(cell)
    tried = {result.cell.batch_size: result for result in _tried_before(path)}

    def keep(result: Result) -> None:
        size = result.cell.batch_size
        tried[size] = result
        _save(result, path.with_name(f"{path.stem}-batch-{size}.json"), "--steps", str(STEPS))
        check_time(deadline)

    largest = measure_boundary(run, cell, guess=guess, known=dict(tried), tried=keep)
    if not largest:
        raise actprof.ActprofError("not even batch size 1 runs")
    _save(replace(tried[largest], max_batch_size=largest), path, "--boundary")
    path.with_name(f"{path.stem}-batch-{largest}.json").unlink()


def _tried_before(path: Path) -> Iterator[Result]:
    for found in path.parent.glob(f"{path.stem}-batch-*.json"):
        yield Result.from_json(json.loads(found.read_text(encoding="utf-8")))


def snapshot(path: Path, _deadline: float, *, cell: Cell) -> None:
    """Record one run, and beside it which cell it was."""
    run, cell = run_of(cell)
    write_whole(path.with_suffix(".cell"), json.dumps(cell.to_json()).encode())
    run.snapshot(cell, path)


def _cell(resolution: str, batch_size: int, *, gpu: str | None = None, **fields: Any) -> Cell:
    return make_cell(
        overrides=CHUNK, resolution=resolution, batch_size=batch_size, gpu=gpu, default_gpu=None, **fields
    )


def pieces() -> Iterator[Piece]:
    """Yield what is measured, the most valuable first: the name of its file, and what writes it."""
    for batch_size in (8, 64, 32, 16):
        for resolution in RESOLUTIONS:
            yield _piece("here", _cell(resolution, batch_size))
    for resolution, conf, guess in SETUPS:
        cell = _cell(resolution, 8, gpu="RTX 3090", alloc_conf=conf)
        yield f"boundary-{resolution}{_suffix(cell)}.json", partial(boundary, cell=cell, guess=guess)
    for resolution, conf, _guess in SETUPS:
        cell = _cell(resolution, 8, alloc_conf=conf)
        yield f"snapshot-{resolution}{_suffix(cell)}.pickle", partial(snapshot, cell=cell)
    for fields in ({"cudnn_benchmark": False}, {"alloc_conf": EXPANDABLE}):
        for batch_size in (64, 8):
            for resolution in RESOLUTIONS:
                yield _piece("here", _cell(resolution, batch_size, **fields))
    for cell in sorted(actprof.load_scenario(SCENARIO).cells, key=lambda cell: -cell.batch_size):
        yield _piece("as", cell)


def _piece(prefix: str, cell: Cell) -> Piece:
    return f"{prefix}-{cell.resolution}-{cell.batch_size}{_suffix(cell)}.json", partial(one, cell=cell)


def _suffix(cell: Cell) -> str:
    """Return what tells the settings of `cell` apart from lerobot's."""
    conf = "expandable" if cell.alloc_conf == EXPANDABLE else cell.alloc_conf.replace(":", "-")
    plans = "" if cell.cudnn_benchmark else "heuristics"
    return "".join(f"-{word}" for word in (conf, plans) if word)


def measure_all(folder: Path, minutes: float) -> bool:
    """Measure what `folder` lacks; return False when the minutes were over, or nothing can be had."""
    start = time.monotonic()
    deadline, failures = start + 60 * minutes, 0
    missing = [(name, take) for name, take in pieces() if not (folder / name).exists()]
    for done, (name, take) in enumerate(missing):
        try:
            check_time(deadline)
            take(folder / name, deadline)
        except NoTimeLeftError:
            print(f"{name}: no time left; call again for the last {len(missing) - done}", flush=True)
            return False
        except Exception as error:  # noqa: BLE001 - the next piece may well be had
            print(f"{name}: {error}", flush=True)
            failures += 1
            if failures >= PATIENCE and not any(folder.glob("*.json")):
                print(f"{failures} failures and nothing known; mend the cause and call again", flush=True)
                return False
        else:
            print(f"{name}: done after {time.monotonic() - start:.0f} s", flush=True)
    return True


def compare_snapshots(folder: Path) -> None:
    """Write down how the simulated allocator and the prediction differ from each snapshot."""
    for path in sorted(folder.glob("snapshot-*.cell")):
        cell = Cell.from_json(json.loads(path.read_text(encoding="utf-8")))
        pickle = path.with_suffix(".pickle")
        if not pickle.exists():  # broken off between the two
            continue
        try:
            found = {
                "cell": cell.to_json(),
                "verification": to_plain(actprof.verify_snapshot(pickle)),
                "unmatched": to_plain(actprof.compare_snapshot(pickle, cell)),
            }
        except actprof.ActprofError as error:
            print(f"{pickle.name}: {error}", flush=True)
            continue
        text = json.dumps(found, indent=1, default=str)
        path.with_suffix(".found").write_text(text, encoding="utf-8")
        print(f"{pickle.name}: {len(found['unmatched'])} rows differ from the prediction")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--minutes", default=8.0, show_default=True, help="No further process is begun after so many.")
@click.option("--only-measure", is_flag=True, help="Leave ledger and snapshots for a later call.")
def main(*, folder: Path, minutes: float, only_measure: bool) -> None:
    """Measure the ground truth into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    here = usable_gpus()
    if here:
        print(f"{here[0].name}, driver {here[0].driver}, {library_versions()}", flush=True)
        only_measure |= not measure_all(folder, minutes)  # a GPU is not paid for what needs none
    elif not any(folder.iterdir()):
        raise click.UsageError("no NVIDIA GPU here, and nothing in the folder to go on with")
    if only_measure:
        return
    # a boundary comes last: its row also has the largest batch size, and replaces one of the same cell
    rows = sorted(folder.glob("*.json"), key=lambda path: (path.name.startswith("boundary"), path.name))
    if rows:
        actprof.accuracy(LEDGER, add=rows)
    compare_snapshots(folder)


if __name__ == "__main__":
    sys.exit(main())
