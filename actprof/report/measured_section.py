"""The section of real runs: sentences, figures of peaks and speeds, and a table of all figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from actprof.ledger.comparison import Pair
from actprof.measurement import Measurement, Spread
from actprof.report.arrange import Setup
from actprof.report.measured_figures import draw_peaks, draw_speed
from actprof.report.measured_sentences import device_name, pair_up, say_alarms, say_measured
from actprof.report.page import Plots
from actprof.report.palette import MEMORY, allocator_mark
from actprof.report.parts import NOTHING, Entry, Panel, Row, Table, columns, dotted
from actprof.report.sweep_tables import asked_for, held_text
from actprof.results import Result
from actprof.units import format_bytes, format_seconds
from actprof.words import (
    VERDICT_WORDS,
    allocator_text,
    cameras_text,
    difference_text,
    gib,
    images_text,
    limit_text,
    plural,
)

MOST_ROWS = 16  # of one figure of peaks; the table has all

_Groups: TypeAlias = Sequence[tuple[Setup, list[Pair]]]


def present_measured(
    results: Sequence[Result], measured: Sequence[Result], figures: Plots
) -> dict[str, Any] | None:
    """Return what the template shows of the measured results, or None where there are none.

    Of its names, `alarms` are sentences that nobody may overlook, `peaks_left_out` counts the runs for which
    the figures of peaks have no row, `capped` tells whether an allocator was limited to the size of another
    card, and `timed_on` has `cuda`, `cpu`, both or neither, of the runs with seconds.
    """
    groups = pair_up(results, measured)
    pairs = [pair for _, some in groups for pair in some]
    if not pairs:
        return None
    timed = [p.run for p in pairs if p.run.samples_per_second]
    resolutions = list(dict.fromkeys(r.cell.resolution for r in timed))
    paired = any(p.prediction for p in pairs)
    peaks, left_out = _peaks(groups, figures)
    rings = [("predicted", "", "ring"), ("measured", "", "dot-small")] if paired else []
    return {
        "heading": "Predicted and measured" if paired else "Measured",
        "has_predictions": paired,
        "said": say_measured(pairs, len(results)),
        "alarms": say_alarms(pairs),
        "peaks": peaks,
        "peaks_left_out": left_out,
        "speeds": _speeds(groups, resolutions, figures),
        "memory_key": [*((name, colour, "circle") for name, colour in MEMORY.items()), *rings],
        "speed_key": [(images_text(1, name), *allocator_mark(i)) for i, name in enumerate(resolutions)],
        "table": table_pairs(groups),
        "capped": any(p.run.measurement and p.run.measurement.cap_bytes for p in pairs),
        "timed_on": {r.device.type if r.device else "cuda" for r in timed},
    }


# -- figures ---------------------------------------------------------------------------------------------


def _peaks(groups: _Groups, figures: Plots) -> tuple[tuple[Panel, ...], int]:
    """Return a figure per setup and allocator setting, and how many runs they have no row for."""
    shown: dict[str, list[Pair]] = defaultdict(list)
    for setup, pairs in groups:
        for pair in sorted(pairs, key=lambda p: p.cell.alloc_conf):
            if not pair.run.on_cpu and max(pair.peaks("reserved")) > 0:
                shown[dotted(setup.name, allocator_text(pair.cell.alloc_conf))].append(pair)
    left_out = sum(max(len(pairs) - MOST_ROWS, 0) for pairs in shown.values())
    furthest = {title: _furthest(pairs) for title, pairs in shown.items()}
    top = max((max(p.peaks("reserved")) for pairs in furthest.values() for p in pairs), default=0)
    panels = []
    for title, pairs in furthest.items():
        label = f"Predicted and measured peaks, {title}: {len(pairs)} {plural(len(pairs), 'run')}"
        panels.append(figures.add(draw_peaks(pairs, top_bytes=top), title, label))
    return tuple(panels), left_out


def _furthest(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs, or of too many those that differ most, in the order in which they came."""
    worst = sorted(range(len(pairs)), key=lambda i: -_distance(pairs[i]))[:MOST_ROWS]
    return [pairs[i] for i in sorted(worst)]


def _distance(pair: Pair) -> float:
    if pair.same_verdict is False:
        return float("inf")
    return sum(abs(pair.difference_bytes(number) or 0) for number in MEMORY)


def _speeds(groups: _Groups, resolutions: Sequence[str], figures: Plots) -> list[Panel]:
    """Return a figure per setup, device, camera count and allocator setting, a line per resolution."""
    found: dict[str, list[Result]] = defaultdict(list)
    tops: dict[str, float] = defaultdict(float)
    runs = [(setup, p.run) for setup, some in groups for p in some if p.run.samples_per_second]
    several = len({device_name(run) for _, run in runs}) > 1
    for setup, run in runs:
        device = device_name(run)
        where = device.removeprefix("the ") if several else ""
        title = dotted(setup.name, where, cameras_text(run.cell.cameras), allocator_text(run.cell.alloc_conf))
        found[title].append(run)
        tops[device] = max(tops[device], run.samples_per_second or 0.0)
    panels = []
    for title, some in found.items():
        figure = draw_speed(some, resolutions, top=tops[device_name(some[0])])
        panels.append(figures.add(figure, title, f"Samples per second by batch size, {title}"))
    return panels


# -- the table -------------------------------------------------------------------------------------------


def table_pairs(groups: _Groups) -> Table:
    """Return a row per real run; without predictions there is nothing to differ from."""
    named = len(groups) > 1
    paired = any(pair.prediction for _, pairs in groups for pair in pairs)
    shown = {
        heading: {name: text for name, text in some.items() if paired or name not in _OF_PREDICTIONS}
        for heading, some in _NUMBERS.items()
    }
    verdicts = ("predicted", "measured") if paired else ("measured",)
    heads = columns(*(["Setup"] if named else []), "Resolution", "Cameras", "Batch", "Allocator")
    heads += tuple((name, "" if i else "first") for i, name in enumerate(verdicts))
    heads += tuple((name, "n" if i else "n first") for some in shown.values() for i, name in enumerate(some))
    texts = [text for some in shown.values() for text in some.values()]
    lines = []
    for setup, pairs in groups:
        for pair in pairs:
            said = pair.prediction.verdict if pair.prediction else ""
            entries = (
                *([setup.name] if named else []),
                images_text(pair.cell.cameras, pair.cell.resolution), str(pair.cell.cameras),
                str(pair.cell.batch_size),
                allocator_text(pair.cell.alloc_conf),
                *([_verdict(said)] if paired else []), _verdict(pair.run.verdict),
                *(text(pair) for text in texts),
            )  # fmt: skip
            lines.append(Row(entries, verdict=pair.run.verdict, facts=_details(pair), texts=_own_words(pair)))
    return Table(
        "Predicted and measured, run by run", heads, tuple(lines), css="cells pairs", box="tall",
        noun="measured run",
        groups=(("Verdict", len(verdicts)), *((heading, len(some)) for heading, some in shown.items())),
    )  # fmt: skip


def _verdict(verdict: str) -> Entry | str:
    return Entry(VERDICT_WORDS.get(verdict, verdict), badge=verdict) if verdict else NOTHING


def _peak(number: str, which: int, pair: Pair) -> str:
    size = pair.peaks(number)[which]
    return gib(size) if size else NOTHING


def _difference(percent: float | None) -> str:
    return NOTHING if percent is None else difference_text(percent, 100)


def _spike(pair: Pair) -> str:
    run = pair.run
    return gib(run.measurement.spike_reserved_bytes) if run.runs and run.measurement else NOTHING


def _limit(result: Result | None) -> str:
    if result is None or result.max_batch_size is None:
        return NOTHING
    return limit_text(result.max_batch_size).partition(" (")[0]


def _seconds(spread: Spread | None, end: str = "median") -> str:
    if spread is None:
        return NOTHING
    value: float = getattr(spread, end)
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _measured_step(end: str, pair: Pair) -> str:
    return _seconds(pair.run.step_seconds, end)


def _phase(phase: str, pair: Pair) -> str:
    return _seconds(getattr(pair.run.measurement, f"{phase}_seconds", None))


def _rate(pair: Pair) -> str:
    speed = pair.run.samples_per_second
    return NOTHING if speed is None else f"{speed:.1f}"


def _compared(number: str) -> dict[str, Callable[[Pair], str]]:
    return {
        "predicted": partial(_peak, number, 0),
        "measured": partial(_peak, number, 1),
        "difference": lambda pair: _difference(pair.difference_percent(number)),
    }


# By heading, the columns below it; the cell's own columns and the two verdicts come before them.
_NUMBERS: dict[str, dict[str, Callable[[Pair], str]]] = {
    "Allocated, GiB": _compared("allocated"),
    "Reserved, GiB": _compared("reserved") | {"spike": _spike},
    "Largest batch": {"predicted": lambda p: _limit(p.prediction), "measured": lambda p: _limit(p.run)},
    "One step, s": {
        "predicted": lambda pair: _seconds(pair.prediction.step_seconds if pair.prediction else None),
        **{end: partial(_measured_step, end) for end in ("low", "median", "high")},
        "difference": lambda pair: _difference(pair.step_percent),
    },
    "Median phase, s": {phase: partial(_phase, phase) for phase in ("forward", "backward", "optimizer")},
    "Speed": {"samples/s": _rate},
}
_OF_PREDICTIONS = ("predicted", "difference")


# -- what unfolds ----------------------------------------------------------------------------------------


def _own_words(pair: Pair) -> tuple[tuple[str, str], ...]:
    run = pair.run.measurement or Measurement()
    texts = (("Last lines of the worker", "\n".join(run.stderr)), ("This run alone", run.command))
    return tuple((label, text) for label, text in texts if text)


def _details(pair: Pair) -> tuple[tuple[str, str], ...]:
    run, predicted = pair.run, pair.prediction
    rows = chain(
        [("Measured", run.reason), ("Predicted", predicted.reason if predicted else "")],
        [("Ran out", _where(run)), ("Said to run out", _where(predicted))],
        [("Device", device_name(run).removeprefix("the "))],
        _circumstances(run.measurement or Measurement()),
    )
    return tuple((name, text) for name, text in rows if text)


def _where(result: Result | None) -> str:
    oom = result.oom if result else None
    if oom is None:
        return ""
    module = f" in {oom.module}" if oom.module else ""
    return f"step {oom.step}, {oom.phase} phase{module}, asking for {asked_for(oom)}, with {held_text(oom)}"


def _circumstances(run: Measurement) -> list[tuple[str, str]]:
    cap = f"limited to {format_bytes(run.cap_bytes)}" if run.cap_bytes is not None else ""
    flushed = f"{run.allocator_retries} cache flushes in the whole run" if run.allocator_retries else ""
    return [
        ("Allocator", ", ".join(filter(None, (cap, flushed)))),
        ("Steps timed", f"{run.steps}, after {run.warmup_steps} to warm up" if run.steps else ""),
        ("Fetching a batch", _spread(run.data_seconds)),
        ("Live tensors", f"{format_bytes(run.live_tensor_bytes)} at most" if run.live_tensor_bytes else ""),
        ("Resident memory", f"{format_bytes(run.resident_bytes)} at most" if run.resident_bytes else ""),
        ("Card", _card(run)),
        ("Measured on", run.date),
    ]


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    low, high = format_seconds(spread.low), format_seconds(spread.high)
    return f"{format_seconds(spread.median)} ({low} to {high}) per step, not in the figures above"


def _card(run: Measurement) -> str:
    card = run.card
    if card is None:
        return ""
    low, high = card.sm_clock_mhz
    said = {
        f"process at most {format_bytes(card.process_bytes)}": card.process_bytes,
        f"whole card at most {format_bytes(card.card_bytes)}": card.card_bytes,
        f"others {format_bytes(card.others_bytes)}": card.others_bytes,
        f"{low:,} to {high:,} MHz": high,
        f"{card.temperature_c} \u00b0C": card.temperature_c,
        f"throttled: {', '.join(card.throttle_reasons)}": card.throttle_reasons,
    }
    return ", ".join(text for text, known in said.items() if known)
