"""What helps against running out of memory, fitted to the very command: all of it can be added to that."""

from __future__ import annotations

from dataclasses import replace

from actprof.advice.suggest import Remedy, suggest
from actprof.cell import Cell
from actprof.preflight_check.training_run import TrainingRun
from actprof.results import Verdict

MOST_REMEDIES = 3
# `actprof suggest` knows more; these need two further traces at most.
FIRST_REMEDIES = ("resize_224x224", "fused_attention", "smaller_batch", "expandable_segments")
# lerobot submits the bare command to a job: neither a variable nor a script of one's own goes with it.
FOR_JOBS = ("resize_224x224", "smaller_batch")


def find_remedies(run: TrainingRun, cell: Cell, *, processes: int = 1) -> tuple[Remedy, ...]:
    """Return what helps first, the best first.

    Args:
        run: what the command means.
        cell: the cell that is in trouble, with what all processes together hold.
        processes: with several, a remedy makes the run `tight` at best, as `Preflight` says of it.
    """
    names = FIRST_REMEDIES if run.job_target is None else FOR_JOBS
    found = suggest(cell, names=names, limit=MOST_REMEDIES)
    return tuple(_fitted(remedy, run, processes) for remedy in found)


def _fitted(remedy: Remedy, run: TrainingRun, processes: int) -> Remedy:
    if processes > 1 and remedy.after.verdict == Verdict.FITS:
        remedy = replace(remedy, after=replace(remedy.after, verdict=Verdict.TIGHT))
    if remedy.family == "resolution" and run.image_transforms is not None:
        note = f"this takes the place of the command's own image transforms; {remedy.note}"
        remedy = replace(remedy, note=note)
    return remedy
