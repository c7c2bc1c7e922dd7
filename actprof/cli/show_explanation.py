"""How an `Explanation` looks on the terminal: sentence, kinds, modules, ops, tensors, and a difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.cli.console import number_table, plain_table
from actprof.explanation.explain import CONTEXT, UNUSED, Change, Explanation, Holding, difference
from actprof.explanation.holders import HeldTensor
from actprof.explanation.sentences import first_ops, headline, request_text, share, short_op, site_text
from actprof.explanation.tree_rows import TreeRow, list_rows
from actprof.policies import policy_title
from actprof.units import format_bytes
from actprof.words import VERDICT_WORDS, asked_text

_WIDE = 110  # columns from which on a module's bytes per sample and constant part stand beside it
_OPS = 10
_CHANGES = 12
_MOST_BAR = 30

# name, bytes, colour of the bar (none of a sum), texts under the heads that there is room for
_BarRow: TypeAlias = tuple[str, int, str, Sequence[str]]


def print_explanation(
    found: Explanation, console: Console, *, depth: int | None = None, tensors: int = 20
) -> None:
    """Print who holds the memory at the first moment, then what the run would need if that is not enough.

    There are `depth` levels of modules (None: as many as fit a screen), and the `tensors` largest tensors.
    """
    moment = found.moment
    _print_head(found, console)
    _print_kinds(moment, console)
    _print_modules(moment, console, depth)
    _print_ops(moment, console)
    _print_tensors(moment, console, tensors)
    if found.need is not moment:
        need = found.need
        console.print(f"\n[bold]On a device without limit[/] {escape(headline(need))}")
        _print_kinds(need, console)


def _print_head(found: Explanation, console: Console) -> None:
    cell, moment = found.result.cell, found.moment
    console.print(
        f"[dim]{escape(f'{policy_title(cell.policy)} with {asked_text(cell)}, on {found.result.gpu.name}')}: "
        f"{VERDICT_WORDS[found.result.verdict]}[/]"
    )
    console.print(f"[bold]{escape(headline(moment))}[/]")
    if request_text(moment):
        console.print(f"[dim]{escape(request_text(moment))}[/]")


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


def _print_kinds(moment: Holding, console: Console) -> None:
    _title(console, "By kind", "shares of the process")
    rows: list[_BarRow] = [(escape(name), size, "green", ()) for name, size in moment.by_kind.items()]
    rows += [
        ("= allocated", moment.allocated_bytes, "", ()),
        (UNUSED, moment.unused_bytes, "blue", ()),
        (CONTEXT, moment.context_bytes, "blue", ()),
        ("= process", moment.process_bytes, "", ()),
    ]
    _print_bars(rows, moment.process_bytes, console, taken=48)


def _print_modules(moment: Holding, console: Console, depth: int | None) -> None:
    _title(
        console, "By module", "shares of what is allocated; gradients and optimizer state with their module"
    )
    heads = ("per sample", "constant") if console.width >= _WIDE else ()
    rows = (
        (_label(row), row.bytes, "green", [_or_nothing(row.per_sample), _or_nothing(row.constant)])
        for row in list_rows(moment.modules, depth=depth)
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


def print_difference(first: Explanation, second: Explanation, console: Console) -> None:
    """Print what the second run needs at its peak, more or less than the first."""
    found = difference(first.need, second.need)
    names = _name_both(first, second)
    change = found.second_bytes - found.first_bytes
    how = f"{format_bytes(abs(change))} {'less' if change <= 0 else 'more'}"
    sizes = f"{format_bytes(found.second_bytes)} instead of {format_bytes(found.first_bytes)}"
    console.print(
        f"\n[bold]Difference[/] With {escape(names[1])} it needs {how} than with {escape(names[0])}: "
        f"{sizes} for the process at its peak."
    )
    for title, note, changes in (
        ("by kind", "adds up to the processes", found.by_kind),
        ("by module", "each with those inside it", found.by_module),
        ("by op", "adds up to what is allocated", found.by_op),
    ):
        _print_changes(title, note, changes, console)


def _print_changes(title: str, note: str, changes: Sequence[Change], console: Console) -> None:
    changed = [change for change in changes if change.change_bytes]
    _title(console, f"Difference {title}", note)
    if not changed:
        console.print("[dim]none[/]")
        return
    heads = (f"[dim]{name}[/]" for name in ("first", "second", "change"))
    table = number_table("", *heads, overflow="fold")
    for change in changed[:_CHANGES]:
        name = short_op(change.name)
        sizes = (format_bytes(change.first_bytes), format_bytes(change.second_bytes))
        table.add_row(escape(name), *sizes, _signed(change.change_bytes))
    console.print(table)
    if len(changed) > _CHANGES:
        console.print(f"[dim]and {len(changed) - _CHANGES} smaller ones[/]")


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
