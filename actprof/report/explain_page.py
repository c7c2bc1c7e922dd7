"""The page of an explanation: who holds the memory by kind, module, op and tensor, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actprof.advice.answer import added_words, advice_line, beyond_text
from actprof.advice.faster import faster
from actprof.advice.offer import Offer
from actprof.advice.remedies import offers
from actprof.advice.suggest import Remedy
from actprof.explanation.explain import CONTEXT, RUNS_OUT, UNUSED, Change, Explanation, Holding, difference
from actprof.explanation.holders import HeldTensor
from actprof.explanation.sentences import first_ops, headline, request_text, share, short_op, site_text
from actprof.policies import policy_title, tokens_called
from actprof.prediction.attribution import ACTIVATIONS
from actprof.prediction.predict import step_timeline
from actprof.report.explain_figures import draw_course, draw_modules, stacked_kinds
from actprof.report.page import Plots, render
from actprof.report.palette import MEMORY, PHASES, ROOM, kind_colour
from actprof.report.parts import Entry, Row, Table, View, columns, rows, with_first
from actprof.report.step_section import present_step
from actprof.report.sweep_tables import table_components
from actprof.report.timeline_figure import (
    components_key,
    draw_lanes,
    draw_shares_over_time,
    phases_key,
    shares_key,
)
from actprof.results import Result
from actprof.units import format_bytes, format_seconds
from actprof.words import capital, cell_command, cell_text, options_text

_MOST_TENSORS = 400
_MOST_CHANGES = 30
_OPS = 24
_IN_CODE = "in Python"
_LESS, _MORE = "#2f7dc4", "#cf6a17"


def render_explanation(
    found: Explanation, *, versus: Explanation | None = None, remedy: Remedy | None = None
) -> str:
    """Return the page as HTML text; with another explanation also how that differs.

    `remedy` is the best thing to do about the run (`actprof.advice.first_aid.first_aid`).
    """
    figures = Plots()
    moment, room = found.moment, found.result.available_bytes
    policy = found.result.cell.policy
    names = [_name(some) for some in found.moments]
    shown, left = moment.tensors[:_MOST_TENSORS], moment.tensors[_MOST_TENSORS:]
    return render(
        "explain",
        figures,
        result=found.result,
        title=_title(found),
        command=cell_command(found.result.cell, "explain"),
        lead=headline(moment),
        request=request_text(moment),
        need=headline(found.need) if found.need is not moment else "",
        modules=[
            _modules(some, i, figures, found.result.cell.policy) for i, some in enumerate(found.moments)
        ],
        courses=[_course(some, i, room, figures) for i, some in enumerate(found.moments)],
        step=_step(found, figures),
        goes=present_step(found.result, faster(found.result, remedy=remedy), figures),
        kinds=_views(names, [_table_kinds(some) for some in found.moments]),
        ops=_views(names, [_table_ops(some) for some in found.moments]),
        phases=list(PHASES.items()),
        components=table_components(found.result.components) if found.result.components else None,
        called=tokens_called(policy),
        tensors=_table_tensors(shown, moment),
        example=_example(shown),
        tensor_kinds=[(kind, kind) for kind in sorted({tensor.kind for tensor in shown})],
        left=len(left),
        left_bytes=sum(tensor.bytes for tensor in left),
        beyond=beyond_text(found.result),
        advice=advice_line(found.result, remedy),
        remedies=_table_remedies(_offers(found.result, remedy)),
        suggest=cell_command(found.result.cell, "suggest"),
        difference=None if versus is None else _compare(found, versus),
    )


def _title(found: Explanation) -> str:
    cell = found.result.cell
    return ", ".join([policy_title(cell.policy), cell_text(cell), *options_text(cell)])


def _example(tensors: Sequence[HeldTensor]) -> str:
    """Return words that find some of the tensors, for whoever wonders what to look for."""
    made = next((tensor for tensor in tensors if tensor.kind == ACTIVATIONS and tensor.module), None)
    return f"{made.module.rpartition('.')[2]} {short_op(made.made_by.op)}" if made else "aten"


# -- one moment ------------------------------------------------------------------------------------------


def _name(moment: Holding) -> str:
    title = "Where it runs out" if moment.what == RUNS_OUT else "The peak"
    return title if moment.limited else f"{title} on a device without limit"


def _views(names: Sequence[str], tables: Sequence[Table]) -> tuple[View, ...]:
    return with_first([View(name, table=table) for name, table in zip(names, tables, strict=True)])


def _modules(moment: Holding, index: int, figures: Plots, policy: str) -> View:
    label = "Allocated memory by module; the terminal's `actprof explain --depth 9` has the figures"
    title = f"{_name(moment)}: {format_bytes(moment.allocated_bytes)} allocated"
    panel = figures.add(draw_modules(moment, policy), title, label, f"modules-{index}")
    return View(_name(moment), (panel,), first=not index)


def _course(moment: Holding, index: int, room: int, figures: Plots) -> View:
    """Return the figure with its key: kinds from top to bottom, then the lines."""
    limit = room if moment.limited else 0
    size = format_bytes(moment.allocated_bytes)
    label = f"Allocated memory over time, stacked by kind: at most {size}"
    title = "On this device" if moment.limited else "On a device without limit"
    panel = figures.add(draw_course(moment, limit), title, label, f"course-{index}")
    kinds = [(name, kind_colour(name)) for name in reversed(stacked_kinds(moment.course))]
    lines = [("reserved", MEMORY["reserved"], "line")]
    lines += [("the GPU's room for PyTorch", ROOM, "line dashed")] if limit else []
    return View(_name(moment), (panel,), first=not index, key=[*kinds, *lines])


def _step(found: Explanation, figures: Plots) -> dict[str, Any] | None:
    """Return the figures of the predicted step, their keys, and what is said of it; None without one."""
    timeline, result = step_timeline(found.prediction), found.result
    if timeline is None or result.step_seconds is None or result.work is None:
        return None
    policy = result.cell.policy
    lanes = figures.add(
        draw_lanes(timeline, policy), "", "Phases on the host and components on the GPU, over time", "lanes"
    )
    shares = figures.add(
        draw_shares_over_time(timeline),
        "What the GPU's time goes to",
        "Shares of its time, over time",
        "shares",
    )
    return {
        "lanes": lanes,
        "keys": (("Host", phases_key(timeline)), ("GPU", components_key(timeline, policy))),
        "shares": shares,
        "shares_key": shares_key(),
        "seconds": format_seconds(result.step_seconds.median),
        "host_seconds": format_seconds(result.work.host_seconds),
        "device_seconds": format_seconds(result.work.device_seconds),
        "command": f"{cell_command(result.cell, 'explain')} --perfetto step.json.gz",
    }


def _table_kinds(moment: Holding) -> Table:
    whole = moment.process_bytes
    parts = [(name, size, kind_colour(name), "") for name, size in moment.by_kind.items()]
    grey = MEMORY["reserved"]
    parts += [
        ("allocated", moment.allocated_bytes, "", "sum"),
        (UNUSED, moment.unused_bytes, grey, ""),
        (CONTEXT, moment.context_bytes, grey, ""),
        ("the process", whole, "", "sum"),
    ]
    lines = [
        Row(_bar_entries(name, size, whole, size / whole if colour else 0.0, colour), css=css)
        for name, size, colour, css in parts
    ]
    return _bar_table("Memory by kind", "Kind", lines)


def _table_ops(moment: Holding) -> Table:
    sizes = first_ops(moment, _OPS)
    largest = max(sizes.values(), default=1) or 1
    whole = moment.allocated_bytes
    lines = [Row(_bar_entries(name, size, whole, size / largest)) for name, size in sizes.items()]
    return _bar_table("Memory by op", "Op", lines)


def _bar_entries(name: str, size: int, whole: int, part: float, colour: str = "") -> tuple[Entry | str, ...]:
    bar = Entry("", "track", bar=part or None, colour=colour if part else "")
    return name, format_bytes(size), share(size, whole), bar


def _bar_table(label: str, head: str, lines: Sequence[Row]) -> Table:
    heads = (*columns(head, numbers=("Size", "Share")), ("Bar", "hidden"))
    return Table(label, heads, tuple(lines), css="bars", named=True)


def _table_tensors(tensors: Sequence[HeldTensor], moment: Holding) -> Table:
    heads = columns(numbers=("Size", "Share"))
    heads += columns("Shape", "Dtype", "Kind", "Module or parameter", "Made by", "Phase")
    lines = tuple(_tensor(tensor, moment) for tensor in tensors)
    return Table("Tensors", heads, lines, css="cells tensors", box="tall", noun="tensor", sorts="descending")


def _tensor(tensor: HeldTensor, moment: Holding) -> Row:
    where, op = tensor.owner or tensor.module, short_op(tensor.made_by.op)
    entries = (
        Entry(format_bytes(tensor.bytes), sort=tensor.bytes),
        Entry(share(tensor.bytes, moment.allocated_bytes), sort=tensor.bytes),
        *(Entry(text, sort=text) for text in (tensor.shape, tensor.dtype, tensor.kind)),
        Entry(where, "long", sort=where),
        *(Entry(text, sort=text) for text in (op, tensor.phase)),
    )
    facts = (
        ("Made by", site_text(tensor.made_by)),
        ("Freed by", site_text(tensor.freed_by) or "nothing: it stays"),
        ("Per sample", format_bytes(tensor.per_sample)),
        ("Constant", format_bytes(tensor.constant)),
        ("Bytes", f"{tensor.bytes:,}"),
    )
    return Row(entries, verdict=tensor.kind, facts=facts)


# -- what helps ------------------------------------------------------------------------------------------


def _offers(result: Result, remedy: Remedy | None) -> Sequence[Offer]:
    """Return what can be done, with the batch size that the advice names if it names one."""
    is_smaller = remedy is not None and remedy.after.cell.batch_size < result.cell.batch_size
    return offers(result.cell, fitting=remedy.after.cell.batch_size if remedy and is_smaller else None)


def _table_remedies(found: Sequence[Offer]) -> Table:
    """Return what can be done about the run; nobody has predicted yet what it brings."""
    lines = [(offer.title, offer.kind, _how(offer)) for offer in found]
    heads = columns("Remedy", "What it changes", "How")
    return Table("Remedies", heads, rows(lines), css="helps", named=True)


def _how(offer: Offer) -> Entry:
    notes = (offer.note,) if offer.note else ()
    added = " ".join(added_words(offer))
    return Entry(added or _IN_CODE, "long" if added else "", notes=notes)


# -- the difference --------------------------------------------------------------------------------------


def _compare(first: Explanation, second: Explanation) -> dict[str, Any]:
    """Return what the template shows of another run beside the first; tables with (heading, note)."""
    found = difference(first.need, second.need)
    sizes = (found.second_bytes - found.first_bytes, found.second_bytes, found.first_bytes)
    change, needed, before = (format_bytes(abs(size)) for size in sizes)
    how = f"{change} {'less' if sizes[0] < 0 else 'more'} than" if sizes[0] else "as much as"
    tables = (
        ("kind", "These add up to the processes.", found.by_kind),
        ("module", "A module counts with those inside it.", found.by_module),
        ("op", "These add up to what is allocated.", found.by_op),
    )
    runs = (("First", first), ("Second", second))
    return {
        "lead": f"The second run needs {how} the first: {needed} instead of {before} "
        "for the process at its peak.",
        "runs": [(name, capital(_title(run))) for name, run in runs],
        "second_lead": headline(second.need),
        "command": cell_command(second.result.cell, "explain"),
        "tables": [(f"By {by}", note, _table_changes(by, changes)) for by, note, changes in tables],
    }


def _table_changes(by: str, changes: Sequence[Change]) -> Table:
    changed = [change for change in changes if change.change_bytes][:_MOST_CHANGES]
    largest = max((abs(change.change_bytes) for change in changed), default=1)
    size = "n first-size"
    heads = ((capital(by), ""), ("First", size), ("Second", size), ("Change", "n"), ("Bar", "hidden"))
    lines = [
        (
            short_op(change.name), format_bytes(change.first_bytes), format_bytes(change.second_bytes),
            _change(change),
            Entry(
                "", "track", bar=abs(change.change_bytes) / largest,
                colour=_LESS if change.change_bytes < 0 else _MORE,
            ),
        )
        for change in changed
    ]  # fmt: skip
    return Table(f"Difference by {by}", heads, rows(lines), css="bars", named=True)


def _change(change: Change) -> Entry:
    sign, css = ("\u2212", "less") if change.change_bytes < 0 else ("+", "more")
    return Entry(f"{sign}{format_bytes(abs(change.change_bytes))}", f"n {css}")
