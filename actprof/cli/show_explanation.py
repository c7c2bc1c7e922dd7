"""How an `Explanation` looks on the terminal: kinds, modules, ops, tensors, the step, and a difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.advice.answer import HEADLINES, advice_line, subject
from actprof.advice.faster import faster
from actprof.advice.suggest import Remedy
from actprof.cli.console import VERDICT_STYLES, number_table, plain_table
from actprof.cli.show_step import print_step
from actprof.explanation.alike import alike
from actprof.explanation.explain import CONTEXT, UNUSED, Change, Explanation, Holding, difference
from actprof.explanation.holders import HeldTensor
from actprof.explanation.sentences import first_ops, headline, request_text, share, short_op, site_text
from actprof.explanation.tree_rows import TreeRow, list_rows
from actprof.units import format_bytes

_WIDE = 110  # columns from which on a module's bytes per sample and constant part stand beside it
_OPS = 10
_TENSORS = 20
_GROUPS, _GAP = 5, 2
_MODULES, _FEW_MODULES = 40, 8
_LITTLE = 0.01  # of the process: kinds below it are summed up
_CHANGES, _FEW_CHANGES = 12, 6
_MOST_BAR = 30

# name, bytes, colour of the bar (none of a sum), texts under the heads that there is room for
_BarRow: TypeAlias = tuple[str, int, str, Sequence[str]]


def print_explanation(  # noqa: PLR0913 - each is told apart
    found: Explanation,
    console: Console,
    *,
    full: bool = False,
    depth: int | None = None,
    tensors: int | None = None,
    remedy: Remedy | None = None,
    brief: bool = False,
) -> None:
    """Print who holds the memory at the first moment, where a step goes, and what helps first.

    Asked for `full`, a `depth` of modules or a number of `tensors`, it prints those; `full` also the ops, and
    what the run would need if the device is not enough. `brief` stops after the first sentences, for a
    difference to follow.
    """
    moment = found.moment
    _print_head(found, console)
    if brief:
        return
    if full and request_text(moment):
        console.print(f"[dim]{escape(request_text(moment))}[/]")
    _print_kinds(moment, console, full=full)
    _print_modules(moment, console, depth, most=_MODULES if full or depth is not None else _FEW_MODULES)
    if full:
        _print_ops(moment, console)
    if full or tensors is not None:
        _print_tensors(moment, console, _TENSORS if tensors is None else tensors)
    else:
        _print_alike(moment, console)
    if found.need is not moment and full:
        need = found.need
        console.print(f"\n[bold]On a device without limit[/] {escape(headline(need))}")
        _print_kinds(need, console, full=full)
    print_step(found.result, console, changes=faster(found.result, remedy=remedy), full=full)
    console.print(f"\n{escape(advice_line(found.result, remedy))}")
    rest = "" if full else "; --full shows all of this"
    console.print(f"[dim]more: actprof suggest, with the same options{rest}[/]")


def _print_head(found: Explanation, console: Console) -> None:
    result, moment = found.result, found.moment
    said = HEADLINES[result.verdict]
    console.print(f"[{VERDICT_STYLES[result.verdict]}]{said}[/] {escape(subject(result))}.")
    console.print(f"[bold]{escape(headline(moment))}[/]")


def _title(console: Console, title: str, note: str = "") -> None:
    console.print(f"\n[bold]{title}[/]" + (f" [dim]({escape(note)})[/]" if note else ""))


def _print_bars(
    rows: Iterable[_BarRow], whole: int, console: Console, taken: int, heads: Sequence[str] = ()
) -> None:
    """Print names with their bytes, the share of `whole`, texts under `heads`, and a bar.

    All but the bar takes `taken` columns.
    """
    table = plain_table(show_header=bool(heads))
    table.add_column("", overflow="fold")
    for head in ("", "", *heads):
        table.add_column(f"[dim]{head}[/]", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    width = max(min(_MOST_BAR, console.width - taken), 0)
    for name, size, colour, texts in rows:
        bar = f"[{colour}]{'█' * round(width * size / whole) if whole > 0 else ''}[/]" if colour else ""
        numbers = (format_bytes(size), share(size, whole), *texts[: len(heads)])
        table.add_row(name, *numbers, bar, style="" if colour else "bold")
    console.print(table)


def _print_kinds(moment: Holding, console: Console, *, full: bool) -> None:
    _title(console, "By kind", "shares of the process")
    least = 0 if full else _LITTLE * moment.process_bytes
    shown = {name: size for name, size in moment.by_kind.items() if size >= least}
    left = [size for name, size in moment.by_kind.items() if name not in shown]
    rows: list[_BarRow] = [(escape(name), size, "green", ()) for name, size in shown.items()]
    if left:
        rows.append((f"[dim]{len(left)} others[/]", sum(left), "green", ()))
    rows += [
        ("= allocated", moment.allocated_bytes, "", ()),
        (UNUSED, moment.unused_bytes, "blue", ()),
        (CONTEXT, moment.context_bytes, "blue", ()),
        ("= process", moment.process_bytes, "", ()),
    ]
    _print_bars(rows, moment.process_bytes, console, taken=48)


def _print_modules(moment: Holding, console: Console, depth: int | None, most: int) -> None:
    _title(console, "By module", "of what is allocated; gradients and optimizer state with their module")
    heads = ("per sample", "constant") if console.width >= _WIDE else ()
    rows = (
        (_label(row), row.bytes, "green", [_or_nothing(row.per_sample), _or_nothing(row.constant)])
        for row in list_rows(moment.modules, depth=depth, most=most)
    )
    _print_bars(rows, moment.allocated_bytes, console, taken=90 if heads else 62, heads=heads)


def _label(row: TreeRow) -> str:
    label = "  " * row.level + escape(row.label)
    return label if row.path and row.label[0] != "(" else f"[dim]{label}[/]"


def _or_nothing(size: int) -> str:
    return format_bytes(size) if size else "[dim]-[/]"


def _print_ops(moment: Holding, console: Console) -> None:
    _title(console, "By op", "that allocated it")
    rows = ((escape(name), size, "green", ()) for name, size in first_ops(moment, _OPS).items())
    _print_bars(rows, moment.allocated_bytes, console, taken=55)


def _print_alike(moment: Holding, console: Console) -> None:
    """Print the largest tensors, those that are alike in one line."""
    groups = alike(moment.tensors)
    shown, left = groups[:_GROUPS], groups[_GROUPS:]
    _title(console, "The largest tensors", "B is the batch size")
    rows = []
    for group in shown:
        count = f"{group.count} x " if group.count > 1 else ""
        held = share(group.total_bytes, moment.allocated_bytes)
        rows.append((f"{count}{format_bytes(group.bytes)}", held, group.what, group.shape, group.module))
    sizes = sum(group.total_bytes for group in left)
    others = f"in {sum(group.count for group in left):,} others"
    rows.append((format_bytes(sizes), share(sizes, moment.allocated_bytes), others, "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    room = max(console.width - sum(widths) - 4 * _GAP, _GAP)
    for size, held, what, shape, module in rows:
        path = module if len(module) <= room else f"\u2026{module[len(module) - room + 1 :]}"
        columns = (
            size.rjust(widths[0]),
            held.rjust(widths[1]),
            what.ljust(widths[2]),
            shape.ljust(widths[3]),
        )
        gap = " " * _GAP
        console.print(f"{escape(gap.join(columns))}{gap}[dim]{escape(path)}[/]", no_wrap=True)


def _print_tensors(moment: Holding, console: Console, count: int) -> None:
    shown, left = moment.tensors[:count], moment.tensors[count:]
    if not shown:
        return
    _title(console, "The largest tensors", "B is the batch size")
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("right", "right", "left"):
        table.add_column(justify=justify, overflow="fold")
    whole = moment.allocated_bytes
    for tensor in shown:
        table.add_row(format_bytes(tensor.bytes), share(tensor.bytes, whole), _describe(tensor))
    if left:
        size = sum(tensor.bytes for tensor in left)
        table.add_row(format_bytes(size), share(size, whole), f"in {len(left):,} others")
    console.print(table)


def _describe(tensor: HeldTensor) -> str:
    described = " ".join(word for word in (tensor.shape, tensor.dtype, tensor.kind) if word)
    where = tensor.owner or tensor.module
    freed = "stays" if tensor.freed_by is None else f"freed: {site_text(tensor.freed_by)}"
    return (
        f"[bold]{escape(described)}[/]{f'  {escape(where)}' if where else ''}\n"
        f"[dim]made: {escape(site_text(tensor.made_by))}\n{escape(freed)}[/]"
    )


# -- the difference --------------------------------------------------------------------------------------


def print_difference(
    first: Explanation, second: Explanation, console: Console, *, full: bool = False
) -> None:
    """Print what the second run needs at its peak, without limit, more or less than the first."""
    found = difference(first.need, second.need)
    names = _name_both(first, second)
    change = found.second_bytes - found.first_bytes
    how = f"{format_bytes(abs(change))} {'less' if change <= 0 else 'more'}"
    sizes = f"{format_bytes(found.second_bytes)} instead of {format_bytes(found.first_bytes)}"
    console.print(
        f"\n[bold]Difference[/] With {escape(names[1])} it needs {how} than with {escape(names[0])}: "
        f"{sizes} for the process at its peak, without limit."
    )
    for title, note, changes in (
        ("by kind", "adds up to the processes", found.by_kind),
        ("by module", "each with those inside it", found.by_module),
        ("by op", "adds up to what is allocated", found.by_op if full else ()),
    ):
        if changes:
            _print_changes(title, note, changes, console, most=_CHANGES if full else _FEW_CHANGES)


def _print_changes(title: str, note: str, changes: Sequence[Change], console: Console, *, most: int) -> None:
    changed = [change for change in changes if change.change_bytes]
    _title(console, f"Difference {title}", note)
    if not changed:
        console.print("[dim]none[/]")
        return
    heads = (f"[dim]{name}[/]" for name in ("first", "second", "change"))
    table = number_table("", *heads, overflow="fold")
    for change in changed[:most]:
        name = short_op(change.name)
        sizes = (format_bytes(change.first_bytes), format_bytes(change.second_bytes))
        table.add_row(escape(name), *sizes, _signed(change.change_bytes))
    console.print(table)
    if len(changed) > most:
        console.print(f"[dim]and {len(changed) - most} smaller ones[/]")


def _signed(size: int) -> str:
    colour = "green" if size < 0 else "red"
    return f"[{colour}]{'-' if size < 0 else '+'}{format_bytes(abs(size))}[/]"


def _name_both(first: Explanation, second: Explanation) -> tuple[str, str]:
    """Return what tells the two cells apart: the fields in which they differ."""
    one, other = first.result.cell.to_json(), second.result.cell.to_json()
    fields = [name for name in one if one[name] != other[name]]
    return _name(one, fields, "the first"), _name(other, fields, "the second")


def _name(cell: dict[str, Any], fields: Iterable[str], otherwise: str) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_value(cell[name])}" for name in fields) or otherwise


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={item}" for name, item in value.items()) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
