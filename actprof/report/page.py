"""Render a `Report` as one HTML file that needs no network: styles, scripts, figures and data inlined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from actprof.prediction.verdict import HEADROOM_SHARE
from actprof.report.arrange import Setup, arrange, fixed_facts
from actprof.report.curves import AXES, pack_curves
from actprof.report.claims_section import present_expectations
from actprof.report.figures import draw_heatmap, draw_limits, draw_makeup
from actprof.report.loading_section import present_loading
from actprof.report.makeup import (
    collect_cells,
    colour_parts,
    list_components,
    merge_small,
    split_activations,
    split_by_kind,
)
from actprof.report.measured_section import present_measured
from actprof.report.palette import ERROR, LIMITS, UNKNOWN, allocator_mark, colour_at, css_gradient
from actprof.report.panels import Panel, View
from actprof.report.sentences import answer, device_text
from actprof.report.speed_section import OP_COLUMNS, present_speed
from actprof.report.table import GROUNDING_COLUMNS, columns, list_groundings, list_rows, list_tokens
from actprof.report.templating import templates
from actprof.results import Verdict
from actprof.units import MIB, format_seconds
from actprof.words import VERDICT_WORDS, allocator_text, cameras_text, gib, join

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from actprof.report.makeup import Bar
    from actprof.report.model import Report
    from actprof.results import Result

_HELPERS = {
    "cameras_text": cameras_text,
    "limit_colours": LIMITS,
    "op_columns": OP_COLUMNS,
    "colour_at": colour_at,
    "css_gradient": css_gradient,
    "shades": {Verdict.UNKNOWN: UNKNOWN, Verdict.FAILED: ERROR},
    "words": VERDICT_WORDS,
}


def render_page(report: Report) -> str:
    """Return the page as HTML text."""
    results = report.results or report.measured
    setups = arrange(results)
    figures: dict[str, Any] = {}
    page = {
        "report": report,
        "answer": answer(results, planned=report.planned),
        "counts": _counts(results),
        "facts": _facts(results, setups),
        "device": device_text(results),
        "heatmaps": _with_first([_heatmaps(setup, figures) for setup in setups]),
        "limits": _limits(setups, figures),
        "limit_key": _limit_key(setups),
        "tokens": [(setup, list_tokens(setup)) for setup in _per_tokens(setups)],
        "parameters": _parameters(setups),
        **_makeups(setups, figures),
        "columns": columns(setups),
        "rows": list_rows(setups),
        "grounding_columns": GROUNDING_COLUMNS,
        "groundings": list_groundings(report.groundings),
        "assumptions": _assumptions(results),
        "versions": _versions(report),
        "work": _work(results),
        "sources": Counter(r.source for r in (*report.results, *report.measured)),
        "speed": present_speed(report, lambda figure: _add(figures, figure)),
        "loading": present_loading(report),
        "measured": present_measured(report, lambda figure: _add(figures, figure)),
        "expectations": present_expectations(report.outcomes),
        "axes": AXES,
        "least_headroom": f"{HEADROOM_SHARE:.0%}",
        "curves": pack_curves(results),
        "figures": figures,
    }
    return templates().get_template("report.html.j2").render(**page, **_HELPERS)


def _add(figures: dict[str, Any], figure: go.Figure) -> str:
    data = figure.to_plotly_json()
    data["layout"].pop("template", None)  # the page has its own, in its own colours
    name = f"figure-{len(figures)}"
    figures[name] = data
    return name


def _heatmaps(setup: Setup, figures: dict[str, Any]) -> View:
    panels = []
    for conf in setup.alloc_confs:
        for cameras in setup.cameras:
            lines = [line for line in setup.lines if (line.cameras, line.alloc_conf) == (cameras, conf)]
            if not lines:
                continue
            title = f"{cameras_text(cameras)}, {allocator_text(conf)}"
            cells = [result for line in lines for result in line.results]
            failing = sum(r.verdict == Verdict.OOM for r in cells)
            label = f"Heatmap of memory needed, {title}: {len(cells)} cells, {failing} out of memory"
            sizes = len({r.cell.batch_size for r in cells})
            panels.append(Panel(_add(figures, draw_heatmap(setup, cameras, conf)), title, label, sizes, conf))
    return View(setup.name, tuple(panels))


def _limits(setups: Sequence[Setup], figures: dict[str, Any]) -> list[View]:
    label = "Largest batch size that runs, by resolution, cameras and allocator setting"
    confs = _alloc_confs(setups)
    known = [setup for setup in setups if any(line.limit is not None for line in setup.lines)]
    views = [View(s.name, (Panel(_add(figures, draw_limits(s, confs)), "", label),)) for s in known]
    return _with_first(views)


def _limit_key(setups: Sequence[Setup]) -> list[tuple[str, str, str]]:
    """Return (name, colour, symbol) of each allocator setting."""
    confs = _alloc_confs(setups)
    return [(allocator_text(conf), *allocator_mark(confs.index(conf))) for conf in confs]


def _alloc_confs(setups: Sequence[Setup]) -> list[str]:
    return sorted({conf for setup in setups for conf in setup.alloc_confs})


def _makeups(setups: Sequence[Setup], figures: dict[str, Any]) -> dict[str, Any]:
    groups = _cells_around_limits(setups)
    kinds = {name: merge_small(split_by_kind(cells)) for name, cells in groups.items()}
    inside = {name: merge_small(split_activations(cells)) for name, cells in groups.items()}
    components = list_components(cell for cells in groups.values() for cell in cells)
    kind_parts, inside_parts = _parts(kinds, components), _parts(inside, components)
    focus = setups[0].focus if setups else None
    views = []
    for name, cells in groups.items():
        by_kind = _add(figures, draw_makeup(kinds[name], kind_parts, room=True))
        by_group = _add(figures, draw_makeup(inside[name], inside_parts, room=False))
        panels = (Panel(by_kind, "", f"Memory by kind, {name}"), Panel(by_group, "", f"Activations, {name}"))
        first = focus is not None and any(cell in focus.results for cell in cells)
        views.append(View(name, panels, first=first))
    return {"makeups": _with_first(views), "kind_parts": kind_parts, "inside_parts": inside_parts}


def _cells_around_limits(setups: Sequence[Setup]) -> dict[str, tuple[Result, ...]]:
    groups = {}
    for setup in setups:
        for conf in setup.alloc_confs:
            for cameras in setup.cameras:
                if cells := collect_cells(setup, cameras, conf):
                    name = (setup.name, cameras_text(cameras), allocator_text(conf))
                    groups[" · ".join(part for part in name if part)] = cells
    return groups


def _with_first(views: list[View]) -> list[View]:
    """Return the views with exactly one shown first."""
    shown = next((i for i, view in enumerate(views) if view.first), 0)
    return [replace(view, first=i == shown) for i, view in enumerate(views)]


def _parts(bars: Mapping[str, list[Bar]], components: list[str]) -> list[tuple[str, str]]:
    return colour_parts([bar for some in bars.values() for bar in some], components)


def _counts(results: Sequence[Result]) -> list[tuple[str, str, int]]:
    counts = Counter(r.verdict for r in results)
    return [(verdict, VERDICT_WORDS[verdict], counts[verdict]) for verdict in Verdict if counts[verdict]]


def _facts(results: Sequence[Result], setups: Sequence[Setup]) -> list[tuple[str, str]]:
    """Return what was asked: what all cells share, and the axes along which they differ."""
    shared = fixed_facts(results)
    gpu = (
        f"{shared['gpu']}, {gib(shared['capacity'])} GiB" if "capacity" in shared and "gpu" in shared else ""
    )
    facts = [("GPU", gpu)] if gpu else []
    hidden = {
        "gpu",
        "capacity",
        "source",
        *([] if shared.get("used_by_others_bytes") else ["used_by_others_bytes"]),
    }
    for name, value in shared.items():
        if name not in hidden:
            text = f"{gib(value)} GiB" if name.endswith("_bytes") else str(value)
            facts.append((name.removeprefix("set ").removesuffix("_bytes").replace("_", " "), text))
    axes = {
        "resolutions": dict.fromkeys(r for setup in setups for r in setup.resolutions),
        "cameras": dict.fromkeys(str(c) for setup in setups for c in setup.cameras),
        "batch sizes": dict.fromkeys(str(b) for setup in setups for b in setup.batch_sizes),
        "allocator": dict.fromkeys(allocator_text(a) for setup in setups for a in setup.alloc_confs),
        "setups": dict.fromkeys(setup.name for setup in setups if setup.name),
    }
    return facts + [(name, ", ".join(values)) for name, values in axes.items() if values]


def _per_tokens(setups: Sequence[Setup]) -> list[Setup]:
    """Return the setups whose token tables differ: GPUs and settings change nothing about tokens."""
    return list(
        {repr(list_tokens(setup)): setup for setup in reversed(setups) if list_tokens(setup)}.values()
    )[::-1]


def _parameters(setups: Sequence[Setup]) -> list[tuple[str, str, str]]:
    """Return (policy, parameters, size in fp32) for each count that occurs."""
    found = dict.fromkeys((r.cell.policy, r.parameters) for s in setups for r in s.results if r.parameters)
    return [(policy, f"{count:,}", f"{4 * count / MIB:.1f} MiB") for policy, count in found]


def _assumptions(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return each assumption once, and in how many cells it was made if not in all."""
    counts = Counter(text for r in results for text in dict.fromkeys(r.assumptions))
    total = len(results)
    return [(text, "" if n == total else f"{n} of {total} cells") for text, n in counts.items()]


def _versions(report: Report) -> list[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for versions in (*(r.versions for r in (*report.results, *report.measured)), report.versions):
        for name, version in versions.items():
            found.setdefault(name, {})[version] = None
    return [(name, join(versions)) for name, versions in found.items()]


def _work(results: Sequence[Result]) -> str:
    fresh = [r.timing.trace_seconds for r in results if not r.timing.trace_cached and r.timing.trace_seconds]
    replays = sum(r.timing.replay_seconds for r in results)
    traced = f"{len(fresh)} traced in {format_seconds(sum(fresh))}, " if fresh else ""
    return f"{traced}all replayed in {format_seconds(replays)}" if replays else ""
