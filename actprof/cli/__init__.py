"""The command line: one file per command in `commands/`; nothing heavy is imported before a command runs.

Commands parse options, call the public API and print; errors travel up to `main`, which alone prints them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from actprof.errors import ActprofError
from actprof.printable import log_to_stderr, printable
from actprof.progress import Progress, listening

INTERRUPTED = 130


@cache
def command_lines() -> dict[str, str]:
    """Return the name of each command with its line of `actprof --help`, sorted; none is imported.

    A command is a module of `actprof.cli.commands`, and its line is the first of the module's docstring.
    """
    files = sorted(Path(__file__).with_name("commands").glob("[a-z]*.py"))
    return {file.stem: file.read_text(encoding="utf-8").split('"""', 2)[1] for file in files}


class _LazyGroup(click.Group):
    """A group that imports a command's module when it is called, or asked for help."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return list(command_lines())

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in command_lines():
            return None
        command: click.Command = import_module(f"actprof.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands when there is no such one."""
        import difflib

        names = command_lines()
        if args and args[0] not in names and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(command_lines().items()))


def _show_versions(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click's
    if not asked:
        return
    from actprof.api.installation import installation

    rows = installation()
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        echo(f"{name:{width}}{value}")
    ctx.exit()


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print plain text as `click.echo` does, without what would command the terminal."""
    click.echo(printable(str(text)), err=err, nl=nl)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Sizes are binary: 1 GiB = 1024³ bytes.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_versions,
    help="Show the versions that answers depend on, and where files are kept.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what lerobot and torch print.")
def cli(*, verbose: bool) -> None:
    """Does this robot-policy training run fit the GPU, and where does it stop fitting?"""
    if verbose:
        os.environ["ACTPROF_VERBOSE"] = "1"
    log_to_stderr(verbose=verbose)


@cache
def _waiting() -> Callable[[Progress], None]:
    from actprof.cli.console import Waiting  # imports rich

    return Waiting()


def _show_waiting(progress: Progress) -> None:
    _waiting()(progress)


def main() -> None:
    """Run the command line; print errors to stderr and exit with their code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a bar gets a question mark
    try:
        with listening(_show_waiting):
            code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except ActprofError as error:
        _end(f"actprof: {error}", error.exit_code)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        _end(shown.getvalue().rstrip(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end("actprof: interrupted", INTERRUPTED)
    except BrokenPipeError:  # `actprof gpus | head`
        _end("", 0)
    except OSError as error:  # a full disk, above all: `actprof gpus > /dev/full`
        _end(f"actprof: {error.filename or 'the output'} cannot be read or written ({error.strerror})", 1)
    sys.exit(code or 0)


def _end(said: str, code: int) -> NoReturn:
    """Say why on stderr, as far as there is one, and end; whatever stdout did not take is left."""
    with suppress(OSError):
        if said:
            echo(said, err=True)
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # no stream of the system's, in tests
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed
    sys.exit(code)
