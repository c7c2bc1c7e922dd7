"""Run a lerobot-train command: pre-flight, then predicted beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from actprof.cli.commands import preflight
from actprof.cli.console import messages
from actprof.cli.options import gpu_option, machine_options
from actprof.errors import ActprofError

if TYPE_CHECKING:
    from actprof.running.plan import Plan

_GIVEN = ("capacity", "used_by_others", "cameras", "resolution", "state_dim", "action_dim")


@click.command(
    name="run",
    context_settings={"allow_interspersed_args": False},
    params=[option for option in preflight.command.params if option.name in _GIVEN],
)
@gpu_option(preflight.GPU_HELP)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- lerobot-train ...")
@click.option("--fit", is_flag=True, help="Make the batch size the largest that surely fits.")
@click.option(
    "--target-batch",
    type=click.IntRange(min=1),
    help="Make this batch size fit, by the cheapest flags or variables that leave the training as it is.",
)
@click.option("--anyway", is_flag=True, help="Run it even if it runs out of memory, or cannot be told.")
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the summary goes.  [default: actprof-run.json in the run's output folder]",
)
@machine_options
def command(
    *,
    words: tuple[str, ...],
    fit: bool,
    target_batch: int | None,
    anyway: bool,
    summary: Path | None,
    **given: Any,
) -> int:
    """Run the lerobot-train command that follows, if it fits, and say how it compares with its prediction.

    First comes what `actprof preflight` says. A command that runs out of memory, that lerobot would refuse,
    or of which it cannot be told is not run (exit codes 1, 2 and 3) unless --anyway is given; one that trains
    on the CPU is. The run gets the terminal and every signal, and its exit code is this one's (128 + n after
    signal n). Its log is read as it goes by: after the first lines, and at the end, one line says predicted
    against measured memory and seconds, what limits the run now, and the hours that are left.

    \b
    Examples:
      actprof run -- lerobot-train --policy.type=act --dataset.repo_id=me/pick --batch_size=64
      actprof run --fit -- accelerate launch -m lerobot.scripts.lerobot_train --policy.type=act …
      actprof run --target-batch 64 -- uv run lerobot-train --policy.type=pi0 …
      actprof accuracy --add outputs/train/act/actprof-run.json
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    from actprof.processes.worker import Worker
    from actprof.running.edit_command import words_of
    from actprof.running.execute import execute
    from actprof.running.plan import Plan, make_plan
    from actprof.training_command.command_line import Given

    console = messages(tables=True)
    worker = Worker()  # whatever torch takes to trace a step is given back before the run begins
    try:
        plan = worker.call(make_plan, words, Given(**given), fit=fit, target_batch=target_batch)
    except ActprofError as error:
        if not anyway or fit or target_batch is not None:
            raise
        plan = Plan(words=words_of(words), problem=str(error))
    finally:
        worker.close()
    _print_plan(plan, console)
    if plan.exit_code and not anyway:
        console.print("actprof: it is not run; --anyway runs it all the same")
        return plan.exit_code
    return execute(plan, summary=summary).exit_code or 0


def _print_plan(plan: Plan, console: Console) -> None:
    """Print the pre-flight of what is run, and what of it is not as given."""
    if plan.problem:
        console.print(f"actprof: {escape(plan.problem)}\nactprof: it is run anyway, without a prediction")
    elif plan.without_cuda:
        console.print(f"actprof: {escape(plan.without_cuda)}: no memory of a GPU can run out")
        for trap in () if plan.answer is None else plan.answer.traps:
            console.print(f"  {escape(trap.text)}")
    elif plan.answer is not None:
        preflight.print_preflight(plan.answer, console)
        console.print()
    if plan.said:
        console.print(f"actprof: {escape(plan.said)}", soft_wrap=True)
