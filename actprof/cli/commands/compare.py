"""Compare two runs, measured or predicted, and fail when the second is worse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from actprof.cli.console import number_table, output, plain_table, print_json
from actprof.cli.options import json_option
from actprof.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from actprof.running.compare import Quantity, RunComparison
    from actprof.running.noise import Samples

_WORSE = 1


def _share(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    """Return `5%` or `0.05` as 0.05."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise click.BadParameter(f"{text!r} is not a share; write 5% or 0.05")
    return share


@click.command(name="compare")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--tolerance",
    callback=_share,
    default="5%",
    show_default=True,
    help="Differences up to this share are never worse.",
)
@json_option
def command(*, first: Path, second: Path, tolerance: float, as_json: bool) -> int:
    """Compare two runs: what changed between FIRST and SECOND, and whether SECOND is worse.

    Each is a summary that `actprof run` wrote, or what `predict --json`, `preflight --json` or `measure
    --json` printed. A difference counts when it exceeds the tolerance and the noise: of logged seconds by the
    test of Mann and Whitney (one in a hundred; with fewer than five lines the ranges must not overlap).

    Exit codes: 0 no worse, 1 worse beyond noise, 2 they cannot be compared.

    \b
    Examples:
      actprof compare outputs/train/a/actprof-run.json outputs/train/b/actprof-run.json
      actprof compare --tolerance 2% before.json after.json
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    from actprof.api.around import compare

    found = compare(first, second, tolerance=tolerance)
    if as_json:
        print_json(found.to_json())
    else:
        print_comparison(found, output())
    return _WORSE if found.worse else 0


def print_comparison(found: RunComparison, console: Console) -> None:
    """Print the answer, what changed, and each quantity side by side."""
    console.print("\n".join(_answer(found)))
    if found.changes:
        table = plain_table("[dim]changed[/]", "[dim]first[/]", "[dim]second[/]")
        for change in found.changes:
            table.add_row(escape(change.name), escape(change.first) or "-", escape(change.second) or "-")
        console.print()
        console.print(table)
    if found.quantities:
        table = number_table("[dim]quantity[/]", "first", "second", "difference", "beyond noise")
        for quantity in found.quantities:
            difference = "-" if quantity.percent is None else f"{quantity.percent:+.1f} %"
            said = "[bold red]worse[/]" if quantity.worse else "better" if quantity.beyond_noise else "no"
            table.add_row(
                quantity.name.removesuffix(" bytes").removesuffix(" seconds"),
                _figures(quantity, quantity.first),
                _figures(quantity, quantity.second),
                difference,
                said,
            )
        console.print()
        console.print(table)


def _answer(found: RunComparison) -> Iterator[str]:
    worse = [quantity for quantity in found.quantities if quantity.worse]
    if found.verdict_is_worse:
        yield f"[bold red]Worse.[/] The first: {found.verdicts[0]}; the second: {found.verdicts[1]}."
    elif worse:
        names = ", ".join(quantity.name for quantity in worse)
        yield f"[bold red]Worse[/] beyond noise and {found.tolerance:.0%}: {names}."
    else:
        yield f"[bold green]No worse[/] beyond noise and {found.tolerance:.0%}."
    if not found.changes:
        yield "Nothing else is known to have changed."


def _figures(quantity: Quantity, samples: Samples) -> str:
    """Return the median, and the range where there is one."""
    if quantity.name.endswith("bytes"):
        return format_bytes(round(samples.median))
    if not quantity.name.endswith("seconds"):
        return f"{samples.median:,.0f}"
    text = format_seconds(samples.median)
    if samples.low == samples.high:
        return text
    return f"{text} [dim]({format_seconds(samples.low)} to {format_seconds(samples.high)})[/]"
