"""The page of a sweep: its answer, figures, tables, and how the numbers were obtained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

from actprof.advice.answer import beyond_text
from actprof.cell import CELL_FIELDS
from actprof.claims.judge import Outcome
from actprof.loading.rows import LoaderResult
from actprof.measuring.grounding import Grounding
from actprof.policies import policy_title
from actprof.records import to_plain
from actprof.report.arrange import Setup, arrange, fixed_facts
from actprof.report.claims_section import present_expectations
from actprof.report.curves import AXES, pack_curves
from actprof.report.helps_section import present_helps
from actprof.report.loader_page import present_loading
from actprof.report.makeup import (
    collect_cells,
    colour_parts,
    list_components,
    merge_small,
    split_activations,
    split_by_kind,
)
from actprof.report.measured_section import present_measured
from actprof.report.page import Plots, render
from actprof.report.palette import ERROR, UNKNOWN, allocator_mark, colour_at, css_gradient
from actprof.report.parts import Table, View, dotted, with_first
from actprof.report.sentences import answer
from actprof.report.speed_section import present_speed
from actprof.report.sweep_figures import draw_heatmap, draw_limits, draw_makeup
from actprof.report.sweep_tables import table_cells, table_components, table_groundings, table_tokens
from actprof.results import ComponentSize, Result, Verdict
from actprof.units import format_seconds
from actprof.words import VERDICT_WORDS, allocator_text, cameras_text, gib, join

# Fields of the cell that are not worth a word where they are as usual.
_UNSAID = {part.name: to_plain(part.default) for part in CELL_FIELDS if part.in_trace == "when_set"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to put on the page.

    Attributes:
        name: of the scenario; the heading of the page.
        question: what the scenario asks, in the words of its file; may be empty.
        results: one per cell, in any order; all that is said is computed from them. Predicted, as a rule.
        measured: real runs of some of the cells, held against their predictions; where there are no results,
            they stand in for them.
        planned: number of cells of the scenario; more than results where a sweep was interrupted.
        groundings: CPU runs to show beside the predictions.
        outcomes: what became of the scenario's expectations.
        loading: what `actprof loader` measured, to hold against the predicted steps.
        command: what repeats the numbers, one command per line.
        created: ISO 8601 time.
        versions: of what wrote the report; each result has its own.
    """

    name: str
    question: str = ""
    results: tuple[Result, ...] = ()
    measured: tuple[Result, ...] = ()
    planned: int | None = None
    groundings: tuple[Grounding, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    loading: LoaderResult | None = None
    command: str = ""
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def render_report(report: Report) -> str:
    """Return the page as HTML text."""
    results = report.results or report.measured
    setups = arrange(results)
    confs = sorted({conf for setup in setups for conf in setup.alloc_confs})
    figures = Plots()
    verdicts = Counter(r.verdict for r in results)
    counts = [(verdict, VERDICT_WORDS[verdict], n) for verdict in Verdict if (n := verdicts[verdict])]
    return render(
        "sweep",
        figures,
        report=report,
        answer=answer(results, planned=report.planned),
        counts=counts,
        beyond=any(map(beyond_text, results)),
        helps=present_helps(setups),
        filters=[(verdict, f"{word} ({n})") for verdict, word, n in counts],
        facts=_facts(results, setups),
        scale=_scale(verdicts),
        heatmaps=with_first([_heatmaps(setup, figures) for setup in setups]),
        limits=_limits(setups, confs, figures),
        limit_key=[(allocator_text(conf), *allocator_mark(i)) for i, conf in enumerate(confs)],
        tokens=_tokens(setups),
        parameters=_parameters(setups),
        **_makeups(setups, figures),
        cells=table_cells(setups),
        groundings=table_groundings(report.groundings) if report.groundings else None,
        assumptions=_assumptions(results),
        versions=_versions(report),
        created=_date_text(report.created),
        work=_work(results),
        sources=Counter(r.source for r in (*report.results, *report.measured)),
        speed=present_speed(report.results, report.measured, figures),
        loading=present_loading(report.loading, report.results),
        measured=present_measured(report.results, report.measured, figures),
        expectations=present_expectations(report.outcomes),
        axes=AXES,
        curves=pack_curves(results),
    )


def _scale(counts: Counter[Verdict]) -> dict[str, str]:
    """Return the backgrounds of the legend's patches, by what they mean."""
    patches = {
        Verdict.FITS: css_gradient(0.0, 1.0), Verdict.TIGHT: colour_at(1.1),
        Verdict.OOM: css_gradient(1.2, 2.2), Verdict.UNKNOWN: colour_at(UNKNOWN),
        Verdict.FAILED: colour_at(ERROR),
    }  # fmt: skip
    always = (Verdict.FITS, Verdict.TIGHT, Verdict.OOM)
    return {verdict: css for verdict, css in patches.items() if verdict in always or counts[verdict]}


def _heatmaps(setup: Setup, figures: Plots) -> View:
    panels = []
    for conf, cameras in product(setup.alloc_confs, setup.cameras):
        cells = [r for r in setup.results if (r.cell.cameras, r.cell.alloc_conf) == (cameras, conf)]
        if cells:
            title = f"{cameras_text(cameras)}, {allocator_text(conf)}"
            failing = sum(r.verdict == Verdict.OOM for r in cells)
            label = f"Heatmap of memory needed, {title}: {len(cells)} runs, {failing} out of memory"
            sizes = len({r.cell.batch_size for r in cells})
            panel = figures.add(draw_heatmap(setup, cameras, conf), title, label)
            panels.append(replace(panel, columns=sizes, row=conf))
    return View(setup.name, tuple(panels))


def _limits(setups: Sequence[Setup], confs: Sequence[str], figures: Plots) -> tuple[View, ...]:
    label = "Largest batch size that runs, by resolution, cameras and allocator setting"
    known = [setup for setup in setups if any(line.limit is not None for line in setup.lines)]
    return with_first([View(s.name, (figures.add(draw_limits(s, confs), "", label),)) for s in known])


def _makeups(setups: Sequence[Setup], figures: Plots) -> dict[str, Any]:
    groups = _cells_around_limits(setups)
    kinds = {name: merge_small(split_by_kind(cells)) for name, cells in groups.items()}
    inside = {name: merge_small(split_activations(cells)) for name, cells in groups.items()}
    focus = setups[0].focus if setups else None
    views: dict[str, list[View]] = {"makeups": [], "insides": []}
    for name, cells in groups.items():
        # A policy's parts have the same colours wherever they are drawn, and stand in its own keys only.
        policy = cells[0].cell.policy
        own = [other for other, some in groups.items() if some[0].cell.policy == policy]
        components = list_components(cell for other in own for cell in groups[other])
        first = focus is not None and any(cell in focus.results for cell in cells)
        for place, bars, label in (("makeups", kinds, "Memory by kind"), ("insides", inside, "Activations")):
            parts = colour_parts([bar for other in own for bar in bars[other]], components)
            figure = draw_makeup(bars[name], parts, room=place == "makeups")
            panel = figures.add(figure, "", f"{label}, {name}")
            views[place].append(View(name, (panel,), first=first, key=parts))
    return {place: with_first(some) for place, some in views.items()}


def _cells_around_limits(setups: Sequence[Setup]) -> dict[str, tuple[Result, ...]]:
    return {
        dotted(setup.name, cameras_text(cameras), allocator_text(conf)): cells
        for setup in setups
        for conf, cameras in product(setup.alloc_confs, setup.cameras)
        if (cells := collect_cells(setup, cameras, conf))
    }


def _facts(results: Sequence[Result], setups: Sequence[Setup]) -> list[tuple[str, str]]:
    """Return what was asked: what all cells share, and the axes along which they differ."""
    shared = fixed_facts(results)
    facts = []
    if "capacity" in shared and "gpu" in shared:
        facts.append(("GPU", f"{shared['gpu']}, {gib(shared['capacity'])} GiB"))
    for name, value in shared.items():
        if name in {"gpu", "capacity", "source"} or (name == "used_by_others_bytes" and not value):
            continue
        if name in _UNSAID and value == _UNSAID[name]:
            continue
        facts.append(
            (name.removeprefix("set ").removesuffix("_bytes").replace("_", " "), _value(name, value))
        )
    axes = {
        "images": dict.fromkeys(line.images for setup in setups for line in setup.lines),
        "cameras": dict.fromkeys(str(c) for setup in setups for c in setup.cameras),
        "batch sizes": dict.fromkeys(str(b) for setup in setups for b in setup.batch_sizes),
        "allocator": dict.fromkeys(allocator_text(a) for setup in setups for a in setup.alloc_confs),
        "setups": dict.fromkeys(setup.name for setup in setups if setup.name),
    }
    return facts + [(name, ", ".join(values)) for name, values in axes.items() if values]


def _value(name: str, value: Any) -> str:
    if name == "policy":
        return policy_title(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{gib(value)} GiB" if name.endswith("_bytes") else str(value)


def _tokens(setups: Sequence[Setup]) -> list[tuple[str, Table]]:
    """Return (heading, table) of tokens, each once: GPUs and settings change nothing about them."""
    tables: dict[Table, str] = {}
    for setup in setups:
        if table := table_tokens(setup):
            tables.setdefault(table, setup.name)
    return [(name if len(tables) > 1 else "", table) for table, name in tables.items()]


def _parameters(setups: Sequence[Setup]) -> list[tuple[str, str, Table | None]]:
    """Return (whose, how many, by component) for each set of parameters that occurs."""
    found: dict[tuple[str, int, tuple[ComponentSize, ...]], dict[str, None]] = defaultdict(dict)
    for setup in setups:
        for r in setup.results:
            if r.parameters:
                title = policy_title(r.cell.policy)
                named = "" if title in setup.name else title
                where = dotted(named, setup.name, cameras_text(r.cell.cameras))
                found[r.cell.policy, r.parameters, r.components][where] = None
    counts = Counter(policy for policy, *_ in found)
    return [
        (
            policy_title(policy) if counts[policy] == 1 else join(whose),
            f"{count:,}",
            table_components(components) if components else None,
        )
        for (policy, count, components), whose in found.items()
    ]


def _assumptions(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return each assumption once, and in how many cells it was made if not in all."""
    counts = Counter(text for r in results for text in dict.fromkeys(r.assumptions))
    total = len(results)
    return [(text, "" if n == total else f"{n} of {total} runs") for text, n in counts.items()]


def _date_text(created: str) -> str:
    """Return an ISO 8601 time as `26 November 2026, 15:38 UTC`; anything else as it is."""
    try:
        at = datetime.fromisoformat(created).astimezone(UTC)
    except ValueError:
        return created
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def _versions(report: Report) -> Iterator[str]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for versions in (*(r.versions for r in (*report.results, *report.measured)), report.versions):
        for name, version in versions.items():
            found[name][version] = None
    return (f"{name} {join(versions)}" for name, versions in found.items())


def _work(results: Sequence[Result]) -> str:
    fresh = [r.timing.trace_seconds for r in results if not r.timing.trace_cached and r.timing.trace_seconds]
    replays = sum(r.timing.replay_seconds for r in results)
    traced = f"{len(fresh)} traced in {format_seconds(sum(fresh))}, " if fresh else ""
    return f"{traced}all replayed in {format_seconds(replays)}" if replays else ""
