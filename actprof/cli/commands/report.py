"""Write the HTML report of a sweep again."""

from __future__ import annotations

from pathlib import Path

import click

from actprof import api


@click.command(name="report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--png", is_flag=True,
    help="Also write its answer and figures as PNG files; needs Chrome or Chromium, and choreographer.",
)  # fmt: skip
def command(*, folder: Path, png: bool) -> None:
    """Write the HTML report of a sweep again from the results in FOLDER; needs neither torch nor lerobot."""
    page = api.write_report(folder)
    click.echo(page)
    for picture in api.write_pictures(page) if png else ():
        click.echo(picture)
