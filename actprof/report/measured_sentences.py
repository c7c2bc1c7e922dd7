"""Real runs beside the predictions of the same cells, in sentences. Plain text, not escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actprof.cell import Cell
from actprof.ledger.comparison import Pair
from actprof.report.arrange import Setup, arrange
from actprof.report.palette import MEMORY
from actprof.results import Result, Verdict
from actprof.words import VERDICT_WORDS, capital, cell_text, difference_text, gib, join, plural

_FEW = 3  # more are counted, not named


def pair_up(results: Sequence[Result], measured: Sequence[Result]) -> list[tuple[Setup, list[Pair]]]:
    """Return the measured results by setup, line by line, each with the prediction of an equal cell."""
    predictions = {r.cell.identity(): r for r in results if r.source != "measured"}
    runs = {r.cell.identity(): r for r in measured}
    setups = [
        (setup, [r.cell.identity() for r in setup.results])
        for setup in arrange(map(_as_asked, runs.values()))
    ]
    return [(setup, [Pair.of(runs[key], predictions.get(key)) for key in keys]) for setup, keys in setups]


def _as_asked(run: Result) -> Result:
    """Return the run with the memory of its cell alone: a run that failed does not know its device's."""
    return replace(run, gpu=replace(run.gpu, capacity_bytes=run.cell.capacity_bytes or 0))


def say_measured(pairs: Sequence[Pair], total: int) -> tuple[str, ...]:
    """Return what was measured where, how the verdicts compare, and the worst differences.

    Args:
        pairs: at least one.
        total: number of predicted cells.
    """
    others = (_say_verdicts, _say_differences, _say_steps, _say_failed, _say_cpu)
    return tuple(filter(None, (_say_where(pairs, total), *(say(pairs) for say in others))))


def say_alarms(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the cells that were said to run and ran out of memory; what a prediction must never do."""
    said = []
    for verdict, words in ((Verdict.FITS, "fit"), (Verdict.TIGHT, "run tightly")):
        cells = [p for p in pairs if p.said_runs_ran_out and p.predicted.verdict == verdict]
        if cells:
            count = f"{len(cells)} {plural(len(cells), 'run')}"
            said.append(f"{count} said to {words} ran out of memory: {_name_some(cells)}.")
    return tuple(said)


def device_name(result: Result) -> str:
    """Return the device that a run was on, with its memory; nothing of a run that ended before it said."""
    device = result.device
    if device is None:
        return ""
    if result.on_cpu:
        return f"the CPU ({device.name})"
    return f"the {device.name} ({gib(device.total_bytes)} GiB)"


def cell_name(cell: Cell) -> str:
    """Return a cell by its inputs, and by its allocator setting where it has one."""
    return cell_text(cell) + (f" under {cell.alloc_conf}" if cell.alloc_conf else "")


def _say_where(pairs: Sequence[Pair], total: int) -> str:
    count = len(pairs)
    of = f" of {total}" if total > count and all(p.prediction for p in pairs) else ""
    verb = "was" if count == 1 else "were"
    places = [place for place in dict.fromkeys(_place(p.run) for p in pairs) if place]
    where = join(places) if len(places) <= _FEW else f"{len(places)} devices or sizes"
    on = f", on {where}" if where else ""
    return f"{count}{of} {plural(total if of else count, 'run')} {verb} measured{on}."


def _place(result: Result) -> str:
    cap = result.measurement.cap_bytes if result.measurement else None
    if cap is None or result.device is None:
        return device_name(result)
    return (
        f"{device_name(result)} whose allocator was limited to {gib(cap)} GiB to play the {result.gpu.name}"
    )


def _say_verdicts(pairs: Sequence[Pair]) -> str:
    judged = [p for p in pairs if p.same_verdict is not None]
    if not judged:
        return ""
    agreeing, total = sum(p.same_verdict is True for p in judged), len(judged)
    if agreeing == total:
        return "The verdict agrees." if total == 1 else f"All {total} verdicts agree."
    others = [p for p in judged if not p.same_verdict and not p.said_runs_ran_out]
    said = f"{agreeing} of {total} verdicts {'agrees' if agreeing == 1 else 'agree'}"
    return f"{said}; {_say_disagreeing(others)}." if 0 < len(others) <= _FEW else f"{said}."


def _say_disagreeing(pairs: Sequence[Pair]) -> str:
    said = {Verdict.FITS: "to fit", Verdict.TIGHT: "to run tightly", Verdict.OOM: "to run out"}
    did = {Verdict.FITS: Verdict.FITS, Verdict.TIGHT: "runs tightly", Verdict.OOM: "ran out"}
    return join(
        f"{cell_name(p.cell)} was said {said[Verdict(p.predicted.verdict)]} and {did[p.run.verdict]}"
        for p in pairs
    )


def _say_differences(pairs: Sequence[Pair]) -> str:
    said = [_say_worst(f"{n} memory", [(p.difference_percent(n), p) for p in pairs]) for n in MEMORY]
    return f"{capital(', '.join(filter(None, said)))}." if any(said) else ""


def _say_steps(pairs: Sequence[Pair]) -> str:
    said = _say_worst("step time", [(p.step_percent, p) for p in pairs])
    return f"{capital(said)}." if said else ""


def _say_worst(name: str, percents: Sequence[tuple[float | None, Pair]]) -> str:
    known = [(percent, pair) for percent, pair in percents if percent is not None]
    if not known:
        return ""
    worst, pair = max(known, key=lambda item: abs(item[0]))
    where = f" ({cell_name(pair.cell)})" if len(known) > 1 and worst else ""
    at = "at worst " if len(known) > 1 else ""
    return f"{name} differs by {at}{difference_text(worst, 100)}{where}"


def _say_failed(pairs: Sequence[Pair]) -> str:
    failed = [p for p in pairs if p.run.verdict == Verdict.FAILED]
    if not failed:
        return ""
    runs = f"{len(failed)} {plural(len(failed), 'run')} {VERDICT_WORDS[Verdict.FAILED]}"
    rows = "its row unfolds" if len(failed) == 1 else "their rows unfold"
    return f"{runs} for another reason than memory: {_name_some(failed)}; {rows} to the reason."


def _say_cpu(pairs: Sequence[Pair]) -> str:
    if not any(p.run.on_cpu for p in pairs):
        return ""
    return "A CPU has no caching allocator: its runs have seconds and live tensors, but no verdict."


def _name_some(pairs: Sequence[Pair]) -> str:
    names = [cell_name(p.cell) for p in pairs]
    more = [f"{len(names) - _FEW} more"] if len(names) > _FEW else []
    return join([*names[:_FEW], *more])
