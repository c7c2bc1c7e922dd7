"""Write the HTML report of a sweep again."""

from __future__ import annotations

from pathlib import Path

import click

from actprof import api
from actprof.cli import echo


@click.command(name="report")
@click.argument("folder", type=click.Path(path_type=Path))
def command(*, folder: Path) -> None:
    """Write the HTML report of a sweep again from the results in FOLDER; needs neither torch nor lerobot."""
    echo(api.write_report(folder))
