"""Run what was planned, with who listens beside it."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from importlib.metadata import distributions
from pathlib import Path

from actprof.errors import UsageError
from actprof.hardware import LocalGpu
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.watch_card import CardWatch
from actprof.running.edit_command import Words
from actprof.running.observer import Observer
from actprof.running.passthrough import Passthrough
from actprof.running.plan import Plan
from actprof.running.summary import RunSummary
from actprof.versions import package_version

_LOOKS_PER_SECOND = 1.0  # hours long: a rarer look costs nothing
_LIBRARIES = ("lerobot", "torch")


def execute(plan: Plan, *, summary: Path | None = None) -> RunSummary:
    """Run a plan's command to its end; return what was found.

    Raises:
        UsageError: the program is not there.
    """
    words = _found(plan.words)
    environment = words.seen_environment()
    gpu = _card(plan, environment)
    with ExitStack() as stack:
        watch = None
        passthrough = Passthrough()
        if gpu is not None:
            watch = stack.enter_context(
                CardWatch(gpu.uuid or gpu.index, lambda: passthrough.pid, hertz=_LOOKS_PER_SECOND)
            )
        observer = Observer(
            plan=plan,
            gpu=gpu,
            versions=_versions(Path(words.program[0])),
            look=lambda: None if watch is None else watch.use(),
            say=passthrough.say,
            summary=summary,
        )
        ended = passthrough.run(words.program, environment, observer.hear)
        return observer.end(ended)


def _card(plan: Plan, environment: dict[str, str]) -> LocalGpu | None:
    """Return the first GPU that the run sees here."""
    is_elsewhere = plan.answer is not None and plan.answer.run.job_target is not None
    gpus = () if plan.without_cuda or is_elsewhere else usable_gpus(environment)
    return gpus[0] if gpus else None


def _found(words: Words) -> Words:
    """Return the command with its program's place: on the PATH, else beside the Python that runs this."""
    if not words.program:
        raise UsageError("there is no program in the command; write lerobot-train … after --")
    name, *rest = words.program
    path = words.seen_environment().get("PATH", os.defpath)
    place = shutil.which(name, path=path) or shutil.which(name, path=str(Path(sys.executable).parent))
    if place is None:
        raise UsageError(
            f"{name!r} is not on the PATH, nor beside actprof; run this where lerobot is installed, or write "
            "what starts it there, like uv run lerobot-train"
        )
    variables = (f"{name}={value}" for name, value in words.environment.items())
    return Words((*variables, place, *rest))


def _versions(program: Path) -> dict[str, str]:
    """Return the versions of lerobot and torch beside a program, with actprof's own; those that are told."""
    folders = [str(folder) for folder in program.parent.parent.glob("lib/python*/site-packages")]
    found = {
        package.metadata["Name"].lower(): package.version.partition("+")[0]
        for library in _LIBRARIES
        for package in distributions(name=library, path=folders)
    }
    return {"actprof": package_version("actprof"), **found}
