"""Say who holds the memory of one training run, and where its step goes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.markup import escape

from actprof import api
from actprof.advice.first_aid import first_aid
from actprof.cli.console import messages, output, print_json
from actprof.cli.options import (
    cell_options,
    html_option,
    json_option,
    machine_options,
    parse_overrides,
    png_option,
)
from actprof.cli.show_explanation import print_difference, print_explanation
from actprof.errors import UsageError
from actprof.explanation.explain import difference
from actprof.records import to_plain

_TENSORS = 20  # of a JSON object


@click.command(name="explain")
@cell_options
@click.option(
    "--full", is_flag=True, help="Show all: ops, and the largest tensors with the lines that make them."
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Levels of modules to show, with all that is small.  [default: what fits a screen]",
)
@click.option(
    "--tensors",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="Show so many of the largest tensors, one by one, with the lines that make them.",
)
@click.option(
    "--versus",
    default=None,
    metavar="OPTIONS",
    help='Compare with these options on top, like "--resolution 224x224".',
)
@machine_options
@html_option
@png_option
@click.option(
    "--perfetto",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Write the predicted step as a trace for ui.perfetto.dev as well, as PyTorch's profiler has it; "
    "gzipped as .json.gz.",
)
@json_option
def command(  # noqa: PLR0913 - the options of a command
    *,
    full: bool,
    depth: int | None,
    tensors: int | None,
    versus: str | None,
    html: Path | None,
    png: Path | None,
    perfetto: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say who holds the memory of one training run, and where its step goes, without a GPU.

    At the peak, or where it runs out: by kind, by module and by tensor, equal ones as one; with --full also
    by op, and each tensor with the line that made it. Every list adds up to what is allocated. The seconds of
    a step: by kind of kernel, by component, host beside GPU, and what would be faster.

    \b
    Examples:
      actprof explain --batch-size 64 --gpu "RTX 3090"
      actprof explain --batch-size 64 --versus "--resolution 224x224" --html explain.html
      actprof explain --batch-size 64 --gpu H100 --perfetto step.json.gz
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    others = None if versus is None else options_on_top(options, versus)
    found = api.explain(**options)
    second = None if others is None else api.explain(**others)
    remedy = None if as_json and html is None else first_aid(found.result)
    if html is not None:
        api.write_explanation_page(found, html, versus=second, remedy=remedy)
    if png is not None:
        api.write_explanation_picture(found, png)
    if perfetto is not None:
        api.write_perfetto(found, perfetto)
    if as_json:
        tensors = _TENSORS if tensors is None else tensors
        data = found.to_json(tensors=tensors)
        if second is not None:
            data |= {
                "versus": second.to_json(tensors=tensors),
                "difference": to_plain(difference(found.need, second.need)),
            }
        print_json(data)
        return
    console = output()
    brief = second is not None and not full
    print_explanation(found, console, full=full, depth=depth, tensors=tensors, remedy=remedy, brief=brief)
    if second is not None:
        print_difference(found, second, console, full=full)
    for path in filter(None, (html, png, perfetto)):
        messages().print(f"wrote {escape(str(path))}")


@click.command(name="--versus", add_help_option=False)
@cell_options
def _cell(**options: Any) -> dict[str, Any]:
    """Stand for the options of one cell."""
    return options


def options_on_top(options: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the options of a cell with those of a command line on top; fields of `--set` are merged.

    Raises:
        UsageError: `text` is no such command line, or names nothing.
    """
    try:
        context = _cell.make_context("--versus", shlex.split(text))
        given = {
            name: value
            for name, value in context.params.items()
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        overrides = parse_overrides(given.pop("overrides", ()))
    except click.ClickException as error:
        raise UsageError(f"--versus {text!r}: {error.format_message()}") from error
    except ValueError as error:  # shlex: an open quotation
        raise UsageError(f"--versus {text!r}: {error}") from error
    if not given and not overrides:
        raise UsageError(f'--versus {text!r} names no option; write it like "--resolution 224x224"')
    return {**options, **given, "overrides": {**options["overrides"], **overrides}}
