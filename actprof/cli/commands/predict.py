"""Predict one training run, without a GPU."""

from __future__ import annotations

from typing import Any

import click

from actprof.advice.first_aid import first_aid
from actprof.api import predict
from actprof.cli.console import output, print_json
from actprof.cli.options import cell_options, json_option
from actprof.cli.show_result import print_result


@click.command(name="predict")
@cell_options
@click.option("--steps", type=click.IntRange(min=1), help="Of the whole run, to say how long they take.")
@json_option
def command(*, steps: int | None, as_json: bool, **options: Any) -> None:
    """Predict one training run, without a GPU.

    Three lines answer: does it fit, what to do about it, how long it takes. lerobot's own training step runs
    on tensors without data; every allocation goes through PyTorch's allocator rules. The exit code is 0
    whatever the verdict.

    \b
    Example:
      actprof predict --set chunk_size=50 --set n_action_steps=50 --batch-size 64 --gpu "RTX 3090"
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    result = predict(**options)
    if as_json:
        print_json(result.to_json(curve=False))
    else:
        print_result(result, output(), remedy=first_aid(result), steps=steps)
