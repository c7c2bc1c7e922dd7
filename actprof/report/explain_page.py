"""The page of an explanation: who holds the memory by kind, module, op and tensor, and how it came to that.

One file that opens without a network; it shares its look and its scripts with the report of a sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.explanation.explain import difference
from actprof.explanation.moment import CONTEXT, RUNS_OUT, UNUSED
from actprof.explanation.sentences import freed_text, headline, made_text, request_text, share, short_op
from actprof.files import write_whole
from actprof.report.explain_figures import (
    LIMIT,
    PHASE_COLOURS,
    RESERVED,
    draw_course,
    draw_modules,
    stacked_kinds,
)
from actprof.report.palette import kind_colour
from actprof.report.templating import templates
from actprof.units import format_bytes
from actprof.words import capital, cell_command, cell_text

if TYPE_CHECKING:
    from actprof.explanation.explain import Change, Explanation
    from actprof.explanation.holders import HeldTensor
    from actprof.explanation.moment import Holding

_MOST_TENSORS = 400
_MOST_CHANGES = 30
_OPS = 24


@dataclass(frozen=True, slots=True)
class BarRow:
    """One line of a table with bars; `part` is of the largest, from 0 to 1."""

    name: str
    size: str
    share: str
    part: float
    colour: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor: fields as (text, sort key, is a number), and what unfolds."""

    kind: str
    fields: tuple[tuple[str, str | int, bool], ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MomentView:
    """What the page shows of one moment."""

    title: str
    moment: Holding
    modules: str
    course: str
    kinds: tuple[BarRow, ...]
    ops: tuple[BarRow, ...]
    key: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One line of a difference; `part` is the change's share of the largest, `is_less` its direction."""

    name: str
    first: str
    second: str
    change: str
    part: float
    is_less: bool


def render_explanation(found: Explanation, *, versus: Explanation | None = None) -> str:
    """Return the page as HTML text."""
    figures: dict[str, Any] = {}
    views = []
    for index, moment in enumerate(found.moments):
        figures[f"modules-{index}"] = draw_modules(moment)
        figures[f"course-{index}"] = draw_course(moment, _room(found) if moment.limited else 0)
        views.append(_view(moment, index))
    shown = found.moment.tensors[:_MOST_TENSORS]
    page = {
        "cell": found.result.cell,
        "result": found.result,
        "title": capital(cell_text(found.result.cell)),
        "command": _command(found),
        "moment": found.moment,
        "lead": headline(found.moment),
        "request": request_text(found.moment),
        "need": headline(found.need) if found.need is not found.moment else "",
        "views": views,
        "figures": figures,
        "phases": PHASE_COLOURS,
        "reserved_colour": RESERVED,
        "limit_colour": LIMIT,
        "has_room": bool(_room(found)),
        "tensors": [_tensor(tensor, found.moment) for tensor in shown],
        "tensor_kinds": sorted({tensor.kind for tensor in shown}),
        "left": found.moment.tensors[_MOST_TENSORS:],
        "left_bytes": sum(tensor.bytes for tensor in found.moment.tensors[_MOST_TENSORS:]),
        "difference": None if versus is None else _compare(found, versus),
    }
    return templates().get_template("explain.html.j2").render(**page)


def write_explain_page(found: Explanation, path: str | Path, *, versus: Explanation | None = None) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Raises:
        StoreError: the file cannot be written.
    """
    target = Path(path)
    write_whole(target, render_explanation(found, versus=versus).encode())
    return target


def _room(found: Explanation) -> int:
    result = found.result
    return max(result.gpu.capacity_bytes - result.gpu.context_bytes - result.cell.used_by_others_bytes, 0)


def _command(found: Explanation) -> str:
    return cell_command(found.result.cell, "explain")


# -- one moment ------------------------------------------------------------------------------------------


def _view(moment: Holding, index: int) -> MomentView:
    title = "Where it runs out" if moment.what == RUNS_OUT else "The peak"
    return MomentView(
        title=title if moment.limited else f"{title} on a device without limit",
        moment=moment,
        modules=f"modules-{index}",
        course=f"course-{index}",
        kinds=tuple(_kinds(moment)),
        ops=tuple(_bars(_first(moment.by_op, _OPS), moment.allocated_bytes)),
        key=tuple((name, kind_colour(name)) for name in reversed(stacked_kinds(moment.course))),
    )


def _kinds(moment: Holding) -> Iterable[BarRow]:
    whole = moment.process_bytes
    for name, size in moment.by_kind.items():
        yield BarRow(name, format_bytes(size), share(size, whole), size / whole, kind_colour(name))
    sums = (
        ("allocated", moment.allocated_bytes, "sum"),
        (UNUSED, moment.unused_bytes, ""),
        (CONTEXT, moment.context_bytes, ""),
        ("the process", whole, "sum"),
    )
    for name, size, state in sums:
        yield BarRow(
            name, format_bytes(size), share(size, whole), 0 if state else size / whole, RESERVED, state
        )


def _first(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Return the largest, with the rest summed up."""
    items = list(sizes.items())
    shown = {short_op(name): size for name, size in items[:count]}
    left = items[count:]
    return {**shown, f"{len(left)} others": sum(size for _, size in left)} if left else shown


def _bars(sizes: Mapping[str, int], whole: int) -> Iterable[BarRow]:
    largest = max(sizes.values(), default=1) or 1
    for name, size in sizes.items():
        yield BarRow(name, format_bytes(size), share(size, whole), size / largest)


def _tensor(tensor: HeldTensor, moment: Holding) -> TensorRow:
    where = tensor.owner or tensor.module
    op = short_op(tensor.made_by.op)
    fields: tuple[tuple[str, str | int, bool], ...] = (
        (format_bytes(tensor.bytes), tensor.bytes, True),
        (share(tensor.bytes, moment.allocated_bytes), tensor.bytes, True),
        (tensor.shape, tensor.shape, False),
        (tensor.dtype, tensor.dtype, False),
        (tensor.kind, tensor.kind, False),
        (where, where, False),
        (op, op, False),
        (tensor.phase, tensor.phase, False),
    )
    facts = (
        ("Made by", made_text(tensor)),
        ("Freed by", "nothing: it stays" if tensor.freed_by is None else freed_text(tensor)),
        ("Per sample", format_bytes(tensor.per_sample)),
        ("Constant", format_bytes(tensor.constant)),
        ("Bytes", f"{tensor.bytes:,}"),
    )
    return TensorRow(tensor.kind, fields, facts)


# -- the difference --------------------------------------------------------------------------------------


def _compare(first: Explanation, second: Explanation) -> dict[str, Any]:
    found = difference(first.need, second.need)
    change = found.second_bytes - found.first_bytes
    how = (
        "as much as" if not change else f"{format_bytes(abs(change))} {'less' if change < 0 else 'more'} than"
    )
    return {
        "first": capital(cell_text(first.result.cell)),
        "second": capital(cell_text(second.result.cell)),
        "lead": f"The second run needs {how} the first: {format_bytes(found.second_bytes)} instead of "
        f"{format_bytes(found.first_bytes)} for the process at its peak.",
        "second_lead": headline(second.need),
        "command": _command(second),
        "tables": (
            ("By kind", "These add up to the processes.", _changes(found.by_kind)),
            ("By module", "A module counts with those inside it.", _changes(found.by_module)),
            ("By op", "These add up to what is allocated.", _changes(found.by_op)),
        ),
    }


def _changes(changes: Sequence[Change]) -> list[ChangeRow]:
    changed = [change for change in changes if change.change_bytes][:_MOST_CHANGES]
    largest = max((abs(change.change_bytes) for change in changed), default=1)
    return [
        ChangeRow(
            name=short_op(change.name),
            first=format_bytes(change.first_bytes),
            second=format_bytes(change.second_bytes),
            change=f"{'\u2212' if change.change_bytes < 0 else '+'}{format_bytes(abs(change.change_bytes))}",
            part=abs(change.change_bytes) / largest,
            is_less=change.change_bytes < 0,
        )
        for change in changed
    ]
