"""Say whether a lerobot-train command will run out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from actprof import api
from actprof.cli.console import output, print_json
from actprof.cli.options import json_option
from actprof.results import Verdict


@click.command(name="preflight", context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- lerobot-train ...")
@click.option("--config", type=click.Path(path_type=Path), help="A train_config.json instead of a command.")
@click.option(
    "--gpu", help="A GPU of `actprof gpus`.  [default: --job.target's, else the one in this machine]"
)
@click.option("--capacity", metavar="SIZE", help="Memory of the GPU, like 23.69GiB.  [default: the GPU's]")
@click.option("--used-by-others", metavar="SIZE", help="Memory that other programs hold, of a GPU not here.")
@click.option("--cameras", type=click.IntRange(min=1), help="Where the dataset is not at hand.")
@click.option(
    "--resolution", metavar="WIDTHxHEIGHT", help="Of the cameras, where the dataset is not at hand."
)
@click.option("--state-dim", type=click.IntRange(min=0), help="Length of the robot's state, likewise.")
@click.option("--action-dim", type=click.IntRange(min=1), help="Length of one action, likewise.")
@click.option(
    "--load-seconds",
    type=click.FloatRange(min=0),
    help="Seconds from one batch to the next, as `actprof loader` measures.",
)
@click.option("--price-per-hour", type=click.FloatRange(min=0), help="Dollars, of the machine.")
@click.option(
    "--require",
    type=click.Choice(["tight", "fits"]),
    default="tight",
    show_default=True,
    help="The least verdict whose exit code is 0.",
)
@click.option(
    "--remedies/--no-remedies", default=True, help="Look for remedies where it does not simply fit."
)
@json_option
def command(*, words: tuple[str, ...], require: str, as_json: bool, **options: Any) -> int:
    """Say whether the lerobot-train command that follows will run out of memory.

    The command stands after --, just as it would be run: with environment variables, accelerate launch, uv
    run and the like before it. It is read as lerobot reads it, its dataset's metadata gives the shapes.

    Exit codes: 0 it fits (or is tight, with a warning), 1 it runs out of memory, 2 the command cannot be
    run as it is, 3 it cannot be told.

    \b
    Examples:
      actprof preflight --gpu "RTX 3090" -- lerobot-train --policy.type=act \\
          --policy.push_to_hub=false --dataset.repo_id=me/pick --dataset.root=data/pick --batch_size=64
      actprof preflight --config outputs/train/act/train_config.json
      actprof preflight --require fits -- $TRAIN && $TRAIN
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    from actprof.cli.show_preflight import print_preflight

    answer = api.preflight(words, **options)
    if as_json:
        print_json(answer.to_json())
    else:
        print_preflight(answer, output())
    if answer.verdict == Verdict.TIGHT:
        click.echo(f"actprof: warning: tight: {answer.reason}", err=True)
    return 1 if answer.verdict == Verdict.TIGHT and require == Verdict.FITS else answer.exit_code
