"""Show how true predictions are, from the accuracy ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import TextColumn

from actprof import api
from actprof.api.ledger import PAGE_NAME
from actprof.cli.console import messages, output, print_json, progress_listener
from actprof.cli.options import json_option
from actprof.cli.show_accuracy import print_accuracy
from actprof.ledger.keep import DEFAULT_FOLDER

_FAILED = 1


@click.command(name="accuracy")
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@click.option(
    "--add",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A folder of a sweep with measured results, or a file of `actprof measure --json`. Repeatable.",
)
@click.option("--refresh", is_flag=True, help="Predict every row again and store that.")
@click.option(
    "--check",
    is_flag=True,
    help="Predict every row again, write no page, and exit with 1 when a run that was said to run ran out, "
    "or a stored prediction is no longer what is predicted.",
)
@click.option("--rows", "all_rows", is_flag=True, help="Show all rows, not only the worst.")
@json_option
def command(*, folder: Path, as_json: bool, all_rows: bool, **options: Any) -> int:
    """Show how true predictions are, from the ledger in FOLDER (reports/accuracy if left out).

    A row is one run, predicted and measured, by actprof or by others who published it. Differences are
    predicted minus measured. A band is what repeated runs of the same command may show, because cuDNN chooses
    its plans by time. Writes accuracy.html into FOLDER.

    \b
    Examples:
      actprof accuracy
      actprof accuracy --add measured.json --add reports/3090
      actprof accuracy --check
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    with progress_listener(TextColumn("{task.description}"), start="") as listener:
        found = api.accuracy(folder, listener=listener, **options)
    page = None if options["check"] else folder / PAGE_NAME
    if as_json:
        print_json({**found.to_json(), "page": None if page is None else str(page)})
    else:
        print_accuracy(found, output(), all_rows=all_rows)
        if page is not None:
            messages().print(f"wrote {escape(str(page))}", soft_wrap=True)
    return _FAILED if options["check"] and (found.changed or found.verdicts.said_runs_ran_out) else 0
