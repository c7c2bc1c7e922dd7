"""Predict one training run, without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from actprof import api
from actprof.advice.first_aid import first_aid
from actprof.cli import echo
from actprof.cli.console import messages, output, print_json, progress_listener
from actprof.cli.options import (
    cards_option,
    cell_options,
    html_option,
    json_option,
    machine_options,
    markdown_option,
    png_option,
)
from actprof.cli.progress_bar import counting_columns
from actprof.cli.show_cards import cards_markdown, print_cards
from actprof.cli.show_result import print_result, result_markdown
from actprof.errors import UsageError


@click.command(name="predict")
@cards_option
@cell_options
@click.option("--steps", type=click.IntRange(min=1), help="Of the whole run, to say how long they take.")
@machine_options
@html_option
@png_option
@markdown_option
@json_option
def command(  # noqa: PLR0913 - the options of a command
    *,
    gpu: tuple[str, ...],
    steps: int | None,
    html: Path | None,
    png: Path | None,
    markdown: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict one training run, without a GPU.

    Three lines answer: does it fit, what to do about it, how long it takes. lerobot's own training step runs
    on tensors without data; every allocation goes through PyTorch's allocator rules. The exit code is 0
    whatever the verdict. With several cards, as by --gpu all, one table compares them.

    \b
    Examples:
      actprof predict --set chunk_size=50 --set n_action_steps=50 --batch-size 64 --gpu "RTX 3090"
      actprof predict --batch-size 32 --steps 100000 --gpu 3090 --gpu L4 --gpu h100
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    if len(gpu) > 1 or "all" in gpu:
        if html or png:
            raise UsageError("--html and --png show one card; leave the others out")
        _compare(gpu, steps=steps, markdown=markdown, as_json=as_json, **options)
        return
    result = api.predict(**options, gpu=gpu[0] if gpu else None)
    remedy = None if as_json and not (html or png) else first_aid(result)
    said: dict[str, Any] = {"remedy": remedy, "steps": steps}
    written = [api.write_answer(result, html, **said)] if html else []
    written += [api.write_answer_picture(result, png, **said)] if png else []
    if as_json:
        print_json(result.to_json(curve=False))
    elif markdown:
        echo(result_markdown(result, **said))
    else:
        print_result(result, output(), **said)
    for path in written:
        messages().print(f"wrote {path}", markup=False)


def _compare(
    gpu: tuple[str, ...], *, steps: int | None, markdown: bool, as_json: bool, **options: Any
) -> None:
    with progress_listener(
        *counting_columns(),
        start="predicting each card: about a second each the first time, half of it after that",
    ) as listener:
        results = api.predict_cards(gpu, listener=listener, **options)
    if as_json:
        print_json([result.to_json(curve=False) for result in results])
    elif markdown:
        echo(cards_markdown(results, steps=steps))
    else:
        print_cards(results, output(), steps=steps)
