"""The command line: one file per command; nothing heavy is imported before a command runs.

Commands parse options, call the public API and print; errors travel up to `main`, which alone prints them.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

import click

from actprof.errors import ActprofError

# name -> (module, one line for `actprof --help`)
COMMANDS = {
    "accuracy": ("actprof.cli.accuracy", "Show how true predictions are, from the accuracy ledger."),
    "check": ("actprof.cli.check", "Check what a scenario file expects: claims, a memory budget."),
    "explain": ("actprof.cli.explain", "Say who holds the memory of one training run."),
    "gpus": ("actprof.cli.gpus", "List the GPUs that actprof knows, with the source of each figure."),
    "loader": ("actprof.cli.loader", "Measure how fast a dataset loads here, and what keeps a step fed."),
    "measure": ("actprof.cli.measure", "Run one training run for real, on a GPU or the CPU."),
    "params": ("actprof.cli.params", "Show a policy's parameters by component."),
    "predict": ("actprof.cli.predict", "Predict one training run, without a GPU."),
    "preflight": ("actprof.cli.preflight", "Say whether a lerobot-train command will run out of memory."),
    "replay": ("actprof.cli.replay", "Replay a memory snapshot of PyTorch under other settings."),
    "report": ("actprof.cli.report", "Write the HTML report of a sweep again."),
    "schema": ("actprof.cli.schema", "Print the JSON Schema of scenario files."),
    "suggest": ("actprof.cli.suggest", "Say what to change so that a run fits."),
    "sweep": ("actprof.cli.sweep", "Answer every cell of a scenario file and write a report."),
}
INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group that imports a command's module when it is called, or asked for help."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands when there is no such one."""
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(sorted(COMMANDS))}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in sorted(COMMANDS.items())])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Sizes are binary: 1 GiB = 1024³ bytes.",
)
@click.version_option(package_name="actprof", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Show what lerobot and torch print.")
def cli(*, verbose: bool) -> None:
    """Does this robot-policy training run fit the GPU, and where does it stop fitting?"""
    if verbose:
        os.environ["ACTPROF_VERBOSE"] = "1"
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="actprof: %(message)s", stream=sys.stderr
    )


def main() -> None:
    """Run the command line; print errors to stderr and exit with their code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a bar gets a question mark
    try:
        code = cli.main(standalone_mode=False)
    except ActprofError as error:
        click.echo(f"actprof: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("actprof: interrupted; a sweep keeps what it knew", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `actprof gpus | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed
        sys.exit(0)
    sys.exit(code or 0)
