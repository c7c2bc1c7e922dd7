"""Measure the cells of a scenario one after the other on the GPUs of this machine; store each at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actprof.cell import Cell
from actprof.errors import ActprofError, UsageError
from actprof.hardware import LocalGpu
from actprof.measuring.choose_device import Choice, choose_gpu
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.policies.libraries import missing_lerobot, require_lerobot
from actprof.prediction.many import cell_label
from actprof.progress import Listener, Progress, nobody
from actprof.results import MEASURED, Result, Verdict
from actprof.scenario.grid import Scenario
from actprof.sweeps.store import ResultsStore, measured_fingerprint

MODES = ("auto", "predict", "measure")
_FAILED = ""  # the stamp of a failed run, which is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan:
    """The cells of a scenario that are measured, each with its device; and what was decided and why."""

    scenario: Scenario
    choices: tuple[tuple[Cell, Choice], ...]
    reason: str


def plan_measuring(
    scenario: Scenario, mode: str, *, gpus: Callable[[], Sequence[LocalGpu]] = usable_gpus
) -> MeasurePlan:
    """Return which cells of `scenario` are measured under `mode`, on the GPUs of this machine.

    `predict` measures none, `auto` those whose GPU, or one with its memory, is here, `measure` too.

    Raises:
        UsageError: an unknown mode, or `measure` where no cell can be measured.
    """
    if mode not in MODES:
        raise UsageError(f"{mode!r} is not a mode; choose one of {', '.join(MODES)}")
    if mode == "predict":
        return MeasurePlan(scenario=scenario, choices=(), reason="not measured: predicted only, as asked")
    if mode == "auto" and (lacks := missing_lerobot()):
        return MeasurePlan(scenario=scenario, choices=(), reason=f"not measured: {lacks}")
    require_lerobot("measuring")
    here = tuple(gpus())
    measurable, reasons = [], dict[str, dict[str, None]](cuda={}, cpu={})
    for cell in scenario.cells:  # which may be a million, of which none is kept that cannot be measured
        choice = choose_gpu(cell, here, scenario.catalogue)
        reasons[choice.type][choice.reason] = None
        if choice.type == "cuda":
            measurable.append((cell, choice))
    reason = "; ".join(reasons["cuda"] or reasons["cpu"])
    if mode == "measure" and not measurable:
        raise UsageError(f"no run of this scenario can be measured here: {reason}; use --mode predict")
    if 0 < len(measurable) < len(scenario.cells):
        reason = f"{len(measurable)} of {len(scenario.cells)} runs can be measured: {reason}"
    decided = "measured" if measurable else "not measured"
    return MeasurePlan(scenario=scenario, choices=tuple(measurable), reason=f"{decided}: {reason}")


def measure_cells(
    plan: MeasurePlan,
    store: ResultsStore,
    *,
    fresh: bool = False,
    command: str = "",
    listener: Listener = nobody,
) -> tuple[Result, ...]:
    """Measure what `plan` names and `store` lacks, smallest batch first; return all measured results.

    `fresh` measures again what is known; `command` is what repeats it, for the record.

    Raises:
        ActprofError: a GPU has vanished; what was known is stored.
        UsageError: lerobot refuses a policy's config.
    """
    missing = [
        item for item in plan.choices if fresh or store.stamp(item[0], source=MEASURED) != _stamp(*item)
    ]
    missing.sort(key=lambda item: item[0].batch_size)  # what surely fits is known first
    for done, (cell, choice) in enumerate(missing):
        label = f"measuring {cell_label(cell)} batch {cell.batch_size}"
        listener(Progress(total=len(missing), done=done, running=(label,)))
        result = Run(choice=choice, catalogue=plan.scenario.catalogue, command=command).measure(cell)
        failed = result.verdict == Verdict.FAILED
        store.put_result(result, _FAILED if failed else _stamp(cell, choice))
        if store.lost is not None:  # a card's time is not spent on what cannot be kept
            raise store.lost
        if failed:
            _check_there(choice, usable_gpus())
    listener(Progress(total=len(missing), done=len(missing)))
    return store.results(plan.scenario.cells, source=MEASURED)


def _stamp(cell: Cell, choice: Choice) -> str:
    return "" if choice.gpu is None else measured_fingerprint(cell, choice.gpu, choice.cap_bytes)


def _check_there(choice: Choice, here: Sequence[LocalGpu]) -> None:
    gpu = choice.gpu
    if gpu is not None and all((other.uuid, other.index) != (gpu.uuid, gpu.index) for other in here):
        raise ActprofError(f"GPU {gpu.index} ({gpu.name}) has vanished; what was known is stored")
