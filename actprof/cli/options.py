"""The options that describe one cell, shared by all commands that take one."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from actprof.cell import CHANGES

_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}

_GPU = click.option(
    "--gpu",
    default=None,
    help="A GPU of `actprof gpus`, by any usual name.  [default: RTX 3090, or none with --capacity]",
)
_CAPACITY = click.option(
    "--capacity",
    default=None,
    metavar="SIZE",
    help="Memory of the device, like 23.69GiB.  [default: the GPU's]",
)
_OPTIONS = (
    click.option("--policy", default="act", show_default=True, help="lerobot's name of the policy."),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="FIELD=VALUE",
        help="A field of the policy's lerobot config, like chunk_size=50. Repeatable.  [default: lerobot's]",
    ),
    click.option("--cameras", default=2, show_default=True, help="Number of cameras."),
    click.option(
        "--resolution",
        default="640x480",
        show_default=True,
        metavar="WIDTHxHEIGHT",
        help="Of each camera's images.",
    ),
    click.option("--batch-size", default=8, show_default=True, help="Samples per training step."),
    click.option("--state-dim", default=6, show_default=True, help="Length of the robot's state."),
    click.option("--action-dim", default=6, show_default=True, help="Length of one action."),
    click.option(
        "--optimizer",
        default="preset",
        show_default=True,
        help="preset (the policy's own), adamw, adam or sgd.",
    ),
    click.option(
        "--precision", default="fp32", show_default=True, help="fp32, fp16 or bf16 (mixed precision)."
    ),
    _GPU,
    _CAPACITY,
    click.option(
        "--used-by-others",
        default="0",
        show_default=True,
        metavar="SIZE",
        help="Memory that other programs hold.",
    ),
    click.option(
        "--alloc-conf",
        default="",
        metavar="CONF",
        help="A PYTORCH_CUDA_ALLOC_CONF, like expandable_segments:True.  [default: none]",
    ),
    click.option(
        "--cudnn-benchmark/--no-cudnn-benchmark",
        default=True,
        help="Whether cuDNN tries its plans, as lerobot lets it unless --cudnn_deterministic.",
    ),
    click.option(
        "--change",
        "changes",
        multiple=True,
        type=click.Choice(CHANGES),
        metavar="NAME",
        help="A change of `actprof suggest`, like fused_attention. Repeatable.  [default: none]",
    ),
)


# What a measurement calls the GPU that it plays, and that GPU's memory.
_PLAYED = (
    click.option(
        "--gpu",
        "--as",
        default=None,
        help="Play this GPU on a card with at least its memory.  [default: the card as it is]",
    ),
    click.option(
        "--capacity",
        "--cap",
        default=None,
        metavar="SIZE",
        help="Play a GPU with so much memory, like 23.69GiB; the CUDA context comes out of it.",
    ),
)


def cell_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options of one cell, as keyword arguments of `actprof.predict`."""
    return _with_options(command, _OPTIONS)


def played_cell_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the same options, for a card that is here and may play another."""
    kept = [option for option in _OPTIONS if option not in (_GPU, _CAPACITY)]
    return _with_options(command, (*kept, *_PLAYED))


def _with_options(command: Callable[..., Any], options: Sequence[Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def parsed(*, overrides: tuple[str, ...], **options: Any) -> Any:
        return command(overrides=parse_overrides(overrides), **options)

    result: Callable[..., Any] = parsed
    for option in reversed(options):
        result = option(result)
    return result


def parse_overrides(items: tuple[str, ...]) -> dict[str, Any]:
    """Return field names and values of `FIELD=VALUE` texts; values are read as JSON where they are JSON.

    Raises:
        click.BadParameter: an item without `=` or without a name.
    """
    overrides = {}
    for item in items:
        name, separator, text = item.partition("=")
        if not separator or not name.strip():
            raise click.BadParameter(f"{item!r} is not FIELD=VALUE, like chunk_size=50", param_hint="--set")
        overrides[name.strip()] = _value(text.strip())
    return overrides


def _value(text: str) -> Any:
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text
