"""Options that commands share: those that describe one cell (see `actprof.cell`), and a few more."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from actprof.cell import OPTION_FIELDS
from actprof.cell_field import CellField
from actprof.policies import policy_names

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
markdown_option = click.option(
    "--markdown", is_flag=True, help="Print a table for an issue or a pull request instead."
)
png_option = click.option(
    "--png", type=click.Path(path_type=Path), default=None, metavar="FILE",
    help="Write a picture as well; needs Chrome or Chromium, and choreographer.",
)  # fmt: skip
html_option = click.option(
    "--html", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Write a page as well."
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one per core]"
)


def _use_calibration(_ctx: click.Context, _option: click.Parameter, path: Path | None) -> None:
    """Let this process, and the processes that it starts, find the file where they look for one.

    Raises:
        UsageError: it is no calibration, or cannot be read.
    """
    if path is None:
        return
    from actprof.step_time.calibration import VARIABLE, stored_calibration

    os.environ[VARIABLE] = str(path.absolute())
    stored_calibration()


def _use_host(_ctx: click.Context, _option: click.Parameter, name: str | None) -> None:
    """The same of a host.

    Raises:
        UsageError: nobody knows it.
    """
    if name is None:
        return
    from actprof.step_time.host import VARIABLE, find_host

    os.environ[VARIABLE] = find_host(name).name


_calibration_option = click.option(
    "--calibration", type=click.Path(path_type=Path), default=None, metavar="FILE", expose_value=False,
    callback=_use_calibration,
    help="Predict speed with this file of `actprof calibrate`.  [default: your own, if there is one]",
)  # fmt: skip
_host_option = click.option(
    "--host", default=None, metavar="NAME", expose_value=False, callback=_use_host,
    help="Predict speed with this host, like `B200` or `RTX 4090`.  [default: a Xeon's with an H100]",
)  # fmt: skip


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` what it predicts speed with: a calibration, a host."""
    with_host: Callable[..., Any] = _host_option(command)
    return _calibration_option(with_host)


_CARDS = "Repeatable; `all` compares every card with CUDA."
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}


def complete_gpu(_ctx: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    """Return the cards that begin so, with hyphens for blanks, which part words in shells."""
    from actprof.hardware import builtin_catalogue

    names = ("-".join(gpu.name.split()) for gpu in builtin_catalogue().gpus)
    return [name for name in names if name.lower().startswith(begun.lower())]


def _complete_policy(_ctx: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    return [name for name in policy_names() if name.startswith(begun)]


# What click is told of a kind of values: whatever has to be read with a unit or by name stays a text here.
_KINDS: dict[str, dict[str, Any]] = {
    "overrides": {"metavar": "FIELD=VALUE", "multiple": True, "default": ()},
    "cameras": {"metavar": "NUMBER|SIZES", "type": str},
    "resolution": {"metavar": "WIDTHxHEIGHT"},
    "capacity": {"metavar": "SIZE"},
    "size": {"metavar": "SIZE", "type": str},
    # the default depends on the capacity
    "gpu": {"default": (), "multiple": True, "shell_complete": complete_gpu},
    "policy": {"shell_complete": _complete_policy},
    "alloc_conf": {"metavar": "CONF"},
    "choices": {"metavar": "NAME", "multiple": True},
}
# What a measurement says of the GPU that it plays: another name for the option, and its help.
_PLAYED = {
    "gpu": ("--as", "Play this GPU on a card with at least its memory.  [default: the card as it is]"),
    "capacity": (
        "--cap",
        "Play a GPU with so much memory, like 23.69GiB; the CUDA context comes out of it.",
    ),
}


def one_gpu(_ctx: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> str | None:
    """Return the only card that was named, or None; what was named before the last is never left out.

    Raises:
        click.BadParameter: there are several, and the command is about one.
    """
    if len(names) > 1:
        raise click.BadParameter(
            f"{' and '.join(names)}: this command is about one card; predict and preflight compare several"
        )
    return names[0] if names else None


def gpu_option(said: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of one card, of which `said` is the help."""
    return click.option(
        "--gpu", default=(), multiple=True, callback=one_gpu, shell_complete=complete_gpu, help=said
    )


def cell_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options of one cell, as keyword arguments of `actprof.predict`."""
    return _with_options(command, [_option(part) for part in OPTION_FIELDS])


def cards_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let `--gpu` be repeated, or be `all`: the command is given a tuple of names."""
    for option in getattr(command, "__click_params__", []):
        if option.name == "gpu":
            option.callback, option.help = None, f"{_CARDS} {option.help}"
    return command


def played_cell_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the same options, for a card that is here and may play another."""
    parts = sorted(OPTION_FIELDS, key=lambda part: part.keyword in _PLAYED)
    return _with_options(command, [_option(part, *_PLAYED.get(part.keyword, ())) for part in parts])


def _option(part: CellField, other_name: str = "", instead: str = "") -> Callable[..., Any]:
    """Return click's option of a field, perhaps with another name beside its own, and another help."""
    default = f"  [default: {part.default_text}]" if part.default_text else ""
    told: dict[str, Any] = {"default": part.default, "help": instead or f"{part.help}{default}"}
    told["show_default"] = not (instead or default or part.kind == "flag")
    if part.kind == "choices" and part.choices:
        told["type"] = click.Choice(part.choices)
    name = f"{part.option}/--no-{part.noun}" if part.kind == "flag" else part.option
    if part.kind == "gpu":
        told["callback"] = one_gpu
    names = [name, part.keyword, *([other_name] if other_name else [])]
    return click.option(*names, **{**told, **_KINDS.get(part.kind, {})})


def _with_options(command: Callable[..., Any], options: list[Callable[..., Any]]) -> Callable[..., Any]:
    maps = {part.keyword: part.option for part in OPTION_FIELDS if part.kind == "overrides"}

    @functools.wraps(command)
    def parsed(**given: Any) -> Any:
        read = {name: parse_overrides(given[name], option) for name, option in maps.items()}
        return command(**{**given, **read})

    result: Callable[..., Any] = parsed
    for option in reversed(options):
        result = option(result)
    return result


def parse_overrides(items: tuple[str, ...], option: str = "--set") -> dict[str, Any]:
    """Return field names and values of `FIELD=VALUE` texts; values are read as JSON where they are JSON.

    Raises:
        click.BadParameter: an item without `=` or without a name.
    """
    overrides = {}
    for item in items:
        name, separator, text = item.partition("=")
        if not separator or not name.strip():
            raise click.BadParameter(f"{item!r} is not FIELD=VALUE, like chunk_size=50", param_hint=option)
        overrides[name.strip()] = _value(text.strip())
    return overrides


def _value(text: str) -> Any:
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text
