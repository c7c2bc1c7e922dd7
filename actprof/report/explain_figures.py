"""Figures of an explained moment: modules as an icicle, and the course of the memory stacked by kind."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import plotly.graph_objects as go

from actprof.explanation.course import KindCourse
from actprof.explanation.explain import RUNS_OUT, Holding
from actprof.explanation.holders import ModuleNode
from actprof.explanation.sentences import share
from actprof.explanation.tree_rows import ITSELF, end_of_chain
from actprof.policies import policy_names, policy_spec
from actprof.policies.facts import find_component
from actprof.report.makeup import known_components
from actprof.report.palette import GREY, MEMORY, PHASES, ROOM, component_colour, kind_colour, text_on
from actprof.report.plotting import POINTED, axis_title, in_gib, lay_out
from actprof.units import GIB, format_bytes

OTHER = "other"
_ORDER = (
    "parameters", "gathered parameters", "buffers", "moving average", "optimizer state", "gradients",
    "gradient buckets", "inputs", "activations", "temporaries", "workspaces", "allocator slack",
)  # fmt: skip
_SMALL = 0.01  # of the highest point: kinds that stay below it everywhere become `other`
_ROOT, _ROOT_COLOUR = "allocated", "#8a95a3"
_KINDS_SHOWN = 4


def draw_modules(moment: Holding, policy: str) -> go.Figure:
    """Return all modules of a policy as an icicle whose rectangles add up at every level."""
    tiles = _tiles(moment.modules, moment.allocated_bytes, policy)
    ids, parents, labels, sizes, colours, texts = zip(*tiles, strict=True)
    icicle = go.Icicle(
        ids=ids, parents=parents, labels=[escape(label).replace(".", "<br>.") for label in labels],
        values=sizes, branchvalues="total", sort=True, maxdepth=6,
        marker={"colors": colours, "line": {"color": "rgba(127,136,148,.55)", "width": 1}},
        textfont={"color": [text_on(colour) for colour in colours]}, textinfo="label+percent root",
        hovertext=texts, hovertemplate=POINTED, leaf={"opacity": 1},
        tiling={"orientation": "h", "pad": 1}, pathbar={"visible": False},
    )  # fmt: skip
    margin = {"l": 0, "r": 0, "t": 4, "b": 4}
    return go.Figure(
        icicle, {"height": 540, "margin": margin, "uniformtext": {"minsize": 10, "mode": "hide"}}
    )


def _tiles(root: ModuleNode, whole: int, policy: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rectangles: id, its parent's, label, bytes, colour, and what is said on pointing at it."""
    yield _ROOT, "", root.name, root.total_bytes, _ROOT_COLOUR, _text(root, whole, root.name)
    stack = [(child, _ROOT, 0) for child in reversed(root.children)]
    while stack:
        first, parent, level = stack.pop()
        label, node = end_of_chain(first)
        name = f"{parent}/{label}{'' if node.path else ' (no module)'}"
        colour = _colour(node, policy, level)
        yield name, parent, label, node.total_bytes, colour, _text(node, whole, node.path or node.name)
        if node.children and node.own_bytes:
            size = f"{format_bytes(node.own_bytes)}, {share(node.own_bytes, whole)}"
            text = f"<b>{escape(node.path)}</b> {ITSELF}<br>{size}"
            yield f"{name}/", name, ITSELF, node.own_bytes, _colour(node, policy, level + 1), text
        stack += [(child, name, level + 1) for child in reversed(node.children)]


def _colour(node: ModuleNode, policy: str, level: int) -> str:
    """Return the colour of the module's component, lighter below it; modules around components are grey."""
    if not node.path:
        return kind_colour(node.name)
    prefixes = policy_spec(policy).components if policy in policy_names() else ()
    component = find_component(node.path, prefixes)
    if component is None and any(f"{prefix}.".startswith(f"{node.path}.") for prefix, _ in prefixes):
        return _ROOT_COLOUR
    names = known_components(policy)
    index = len(names) - 1 if component is None else names.index(component)
    return component_colour(max(index, 0), max(level - 1, 0))


def _text(node: ModuleNode, whole: int, name: str) -> str:
    kinds = [f"{kind} {format_bytes(size)}" for kind, size in list(node.by_kind.items())[:_KINDS_SHOWN]]
    lines = [
        f"<b>{escape(name)}</b>",
        f"{format_bytes(node.total_bytes)}, {share(node.total_bytes, whole)}",
        f"{format_bytes(node.per_sample)} per sample, {format_bytes(node.constant)} constant",
        *kinds,
    ]
    return "<br>".join(lines)


def stacked_kinds(course: KindCourse) -> dict[str, list[int]]:
    """Return bytes per point by kind as they are stacked; those that are small throughout are `other`."""
    least = _SMALL * max(course.allocated_bytes, default=0)
    names = [name for name in _ORDER if name in course.by_kind]
    large = {name: list(course.by_kind[name]) for name in names if max(course.by_kind[name]) >= least}
    small = [course.by_kind[name] for name in names if name not in large]
    return {**large, OTHER: [sum(values) for values in zip(*small, strict=True)]} if small else large


def draw_course(moment: Holding, room: int) -> go.Figure:
    """Return the course of the memory, stacked by kind, with steps, phases and the moment marked.

    Args:
        moment: any.
        room: bytes that the segments can have; 0 for no limit.
    """
    course = moment.course
    count = len(course.allocated_bytes)
    figure = go.Figure()
    for name, values in stacked_kinds(course).items():
        figure.add_scatter(
            x=list(range(count)), y=in_gib(values), name=name, stackgroup="kinds", mode="lines",
            line={"width": 0, "shape": "hv"}, fillcolor=kind_colour(name),
            hovertemplate=f"{name} %{{y:.2f}} GiB<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=list(range(count)), y=in_gib(course.reserved_bytes), name="reserved", mode="lines",
        line={"color": MEMORY["reserved"], "width": 1.75, "shape": "hv"}, customdata=_moments(course),
        hovertemplate="reserved %{y:.2f} GiB<extra>%{customdata}</extra>",
    )  # fmt: skip
    _mark(figure, moment, room)
    top = max([*course.reserved_bytes, room], default=0) / GIB or 1.0
    lay_out(figure, height=400, left=48, top=26, bottom=46, hovermode="x unified")
    figure.update_xaxes(
        range=[0, max(count, 1)], showticklabels=False, showgrid=False, zeroline=False,
        title=axis_title("events, in order", 22),
    )  # fmt: skip
    figure.update_yaxes(range=[0, top * 1.06], title={"text": "GiB"})
    return figure


def _mark(figure: go.Figure, moment: Holding, room: int) -> None:
    course = moment.course
    if not course.allocated_bytes:
        return
    ends = [*(start for start, _ in course.phases[1:]), len(course.allocated_bytes)]
    for (start, phase), end in zip(course.phases, ends, strict=True):
        figure.add_shape(
            type="rect", xref="x", yref="paper", x0=start, x1=end, y0=-0.055, y1=-0.015, line={"width": 0},
            fillcolor=PHASES[phase],
        )  # fmt: skip
    for index, at in enumerate(course.steps):
        figure.add_shape(
            type="line", xref="x", yref="paper", x0=at, x1=at, y0=0, y1=1.05, line={"color": GREY, "width": 1}
        )
        figure.add_annotation(
            x=at, y=1.01, xref="x", yref="paper", text=f" step {index + 1}", showarrow=False, xanchor="left",
            yanchor="bottom", font={"size": 11},
        )  # fmt: skip
    if room:
        figure.add_hline(y=room / GIB, line={"color": ROOM, "width": 2, "dash": "dash"})
    _point_at(figure, moment)


def _point_at(figure: go.Figure, moment: Holding) -> None:
    at, highest = moment.course.moment, moment.allocated_bytes / GIB
    text = f"<b>{'runs out' if moment.what == RUNS_OUT else 'peak'}</b>, {highest:.2f} GiB"
    left = at > len(moment.course.allocated_bytes) / 2
    figure.add_annotation(
        x=at, y=highest, text=text, showarrow=True, arrowhead=2, arrowsize=0.9, ax=-34 if left else 34, ay=22,
        xanchor="right" if left else "left", font={"size": 12}, bgcolor="rgba(255,255,255,.86)", borderpad=2,
        arrowcolor=GREY,
    )  # fmt: skip
    figure.layout.annotations[-1].font.color = "#1a1f26"  # on its own light ground in either scheme


def _moments(course: KindCourse) -> list[str]:
    """Return step and phase of every point, for the head of the hover box."""
    names = []
    phases, steps = dict(course.phases), set(course.steps)
    phase, step = "", 0
    for index in range(len(course.allocated_bytes)):
        phase = phases.get(index, phase)
        step += index in steps
        names.append(f"step {step}, {phase}" if step else phase)
    return names
