"""A predicted step over time: phases on the host, components on the GPU, and what the GPU is held up by.

The GPU's kernels are too many to be drawn: of each small stretch of the step the component with most of its
time is shown, neighbours as one, and below it how much of the stretch the GPU works, and at what.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from actprof.policies import policy_names
from actprof.report.makeup import known_components
from actprof.report.palette import GREY, LIMITS, PHASES, component_colour, kind_colour, text_on
from actprof.report.parts import Key
from actprof.report.plotting import POINTED, axis_title, lay_out
from actprof.step_time.play import Floats
from actprof.step_time.predict import OPTIMIZER_COMPONENT
from actprof.step_time.timeline import StepTimeline, nested
from actprof.units import format_seconds
from actprof.words import LIMITS as LIMIT_WORDS
from actprof.words import percent, plural

_STRETCHES = 200
_HOST, _GPU = 1, 0  # heights of the lanes
_ORDER = ("arithmetic", "bandwidth", "launches")
_IDLE, _WAITS = "waits for the host", "waits for the GPU"
Bar = dict[str, Any]


def draw_lanes(timeline: StepTimeline, policy: str) -> go.Figure:
    """Return what host and GPU are at: phases of the host, components of the policy on the GPU."""
    edges = _edges(timeline)
    figure = go.Figure()
    figure.add_trace(_lane(_HOST, list(_phases(timeline)), 0.8))
    figure.add_trace(_lane(_HOST - 0.31, list(_waits(timeline, edges)), 0.18))
    figure.add_trace(_lane(_GPU, list(_components(timeline, policy, edges)), 0.8))
    _lay_out(figure, timeline, 190)
    figure.update_layout(barmode="overlay", uniformtext={"minsize": 10, "mode": "hide"})
    figure.update_yaxes(
        range=[-0.5, 1.5], tickvals=[_GPU, _HOST], ticktext=["GPU", "Host"], ticks="", showgrid=False,
        zeroline=False,
    )  # fmt: skip
    return figure


def draw_shares_over_time(timeline: StepTimeline) -> go.Figure:
    """Return the shares of the GPU's time in each stretch of the step, as areas that make 100 %."""
    edges = _edges(timeline)
    figure = go.Figure()
    for limit, shares in _shares(timeline, edges).items():
        values, name = [round(float(share), 1) for share in shares], _words(limit)
        figure.add_scatter(
            x=[round(float(edge) * 1e3, 4) for edge in edges], y=[*values, values[-1]], name=name,
            stackgroup="shares", mode="lines", line={"width": 0, "shape": "hv"}, fillcolor=LIMITS[limit],
            hovertemplate=f"{name} %{{y:.0f}} %<extra></extra>",
        )  # fmt: skip
    _lay_out(figure, timeline, 170)
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(unifiedhovertitle={"text": "%{x:.1f} ms"})
    figure.update_yaxes(
        range=[0, 100], tickvals=[0, 50, 100], ticktext=["0", "50 %", "100 %"], ticks="", zeroline=False
    )
    return figure


def _edges(timeline: StepTimeline) -> Floats:
    stretch = timeline.step.played.seconds / _STRETCHES
    return np.array([index * stretch for index in range(_STRETCHES + 1)])


def _lay_out(figure: go.Figure, timeline: StepTimeline, height: int) -> None:
    lay_out(figure, height=height, left=48, top=10)
    end = timeline.step.played.seconds * 1e3
    figure.update_xaxes(range=[0, end], showgrid=False, zeroline=False, title=axis_title("ms"))


def phases_key(timeline: StepTimeline) -> Key:
    """Return the phases with their colours, and that of a host that waits for so long that it is drawn."""
    waits = [(_WAITS, GREY)] if any(_waits(timeline, _edges(timeline))) else []
    return [*((phase, PHASES[phase]) for phase in dict.fromkeys(timeline.phases)), *waits]


def components_key(timeline: StepTimeline, policy: str) -> Key:
    """Return the components with their colours, in the order in which the GPU comes to them."""
    return [(name, component_of_step(name, policy)) for name in dict.fromkeys(timeline.components)]


def shares_key() -> Key:
    """Return what the GPU's time goes to, with its colours."""
    return [(_words(limit), LIMITS[limit]) for limit in _ORDER]


def component_of_step(name: str, policy: str) -> str:
    """Return the colour of a component; grey for the optimizer."""
    known = known_components(policy) if policy in policy_names() else []
    if name == OPTIMIZER_COMPONENT:
        return kind_colour("optimizer state")
    return component_colour(known.index(name) if name in known else len(known))


def _words(limit: str) -> str:
    return _IDLE if limit == "launches" else LIMIT_WORDS[limit]


# -- lanes -----------------------------------------------------------------------------------------------


def _bar(name: str, colour: str, times: tuple[float, float], *said: str) -> Bar:
    begin, end = times
    spent = f"{begin * 1e3:.2f} to {end * 1e3:.2f} ms: {format_seconds(end - begin)}"
    return {
        "base": round(begin * 1e3, 4), "x": round((end - begin) * 1e3, 4), "text": escape(name),
        "colour": colour, "hovertext": "<br>".join([f"<b>{escape(name)}</b>", spent, *map(escape, said)]),
    }  # fmt: skip


def _lane(height: float, bars: Sequence[Bar], width: float) -> go.Bar:
    colours = [bar["colour"] for bar in bars]
    return go.Bar(
        orientation="h", y=[height] * len(bars), width=width, marker={"color": colours, "line": {"width": 0}},
        **{name: [bar[name] for bar in bars] for name in ("base", "x", "text", "hovertext")},
        hovertemplate=POINTED, textposition="inside", insidetextanchor="middle", textangle=0,
        insidetextfont={"color": [text_on(colour) for colour in colours], "size": 12}, cliponaxis=True,
    )  # fmt: skip


def _phases(timeline: StepTimeline) -> Iterator[Bar]:
    for span in nested([(phase,) for phase in timeline.phases]):
        times = (timeline.begins[span.first], timeline.ends[span.last])
        count = span.last - span.first + 1
        said = f"{count:,} {plural(count, 'kernel')} launched"
        yield _bar(span.label[0], PHASES[span.label[0]], times, said)


def _waits(timeline: StepTimeline, edges: Floats) -> Iterator[Bar]:
    """Yield stretches of which the host waits more than half: for a value, or for room in the queue."""
    starts, ends = timeline.step.played.launched, np.array(timeline.ends)
    spent = _in_stretches(starts, np.maximum(starts, ends), edges)
    yield from (
        _bar(_WAITS, GREY, times) | {"text": ""}
        for waits, times, _ in _runs([bool(share > 0.5) for share in spent / np.diff(edges)], edges)
        if waits
    )


def _components(timeline: StepTimeline, policy: str, edges: Floats) -> Iterator[Bar]:
    kinds = list(zip(timeline.phases, timeline.components, strict=True))
    busy = _busy(timeline, kinds, edges)
    names, spent = list(busy), np.array(list(busy.values()))
    most = [names[index] if spent[:, i].any() else None for i, index in enumerate(spent.argmax(axis=0))]
    for kind, (begin, end), within in _runs(most, edges):
        if kind is not None:
            phase, component = kind
            busy_share = f"GPU busy for {percent(float(spent[:, within].sum()), end - begin)} of it"
            colour = component_of_step(component, policy)
            yield _bar(component, colour, (begin, end), f"{phase} phase", busy_share)


def _runs(labels: Sequence[Any], edges: Floats) -> Iterator[tuple[Any, tuple[float, float], slice]]:
    """Yield each label with begin and end of the neighbouring stretches that have it, and which they are."""
    at = 0
    for label, run in groupby(labels):
        count = len(list(run))
        yield label, (float(edges[at]), float(edges[at + count])), slice(at, at + count)
        at += count


# -- shares of the GPU's time ----------------------------------------------------------------------------


def _shares(timeline: StepTimeline, edges: Floats) -> dict[str, Floats]:
    """Return the percentages of each stretch by limit; what the GPU does not work it waits for launches."""
    limits = ["arithmetic" if time.arithmetic > time.traffic else "bandwidth" for time in timeline.step.times]
    shares = {limit: 100 * spent / np.diff(edges) for limit, spent in _busy(timeline, limits, edges).items()}
    shares["launches"] = np.maximum(0.0, 100 - sum(shares.values()))
    return {limit: shares[limit] for limit in _ORDER if limit in shares}


def _busy(timeline: StepTimeline, kinds: Sequence[Hashable], edges: Floats) -> dict[Any, Floats]:
    """Return the seconds that the GPU works in each stretch, by kind; `kinds` has one for each kernel."""
    played, found = timeline.step.played, {}
    for kind in dict.fromkeys(kinds):
        members = [index for index, other in enumerate(kinds) if other == kind]
        found[kind] = _in_stretches(played.began[members], played.ended[members], edges)
    return found


def _in_stretches(begins: Floats, ends: Floats, edges: Floats) -> Floats:
    """Return the seconds of intervals, in order and apart from each other, that lie in each stretch."""
    done = np.concatenate([[0.0], np.cumsum(ends - begins)])
    times, sums = np.stack([begins, ends], axis=1).ravel(), np.stack([done[:-1], done[1:]], axis=1).ravel()
    return np.diff(np.interp(edges, times, sums))
