"""Questions about one run: does it fit, who holds the memory, what does a command mean."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.api.cells import make_cell
from actprof.errors import UsageError
from actprof.explanation.explain import Explanation, explain_cell
from actprof.files import write_whole
from actprof.hardware import builtin_catalogue
from actprof.policies.facts import PolicyFacts
from actprof.prediction.predict import predict_cell, unknown_result
from actprof.progress import Listener, nobody
from actprof.results import Result
from actprof.trace.cache import trace_for

if TYPE_CHECKING:
    from actprof.advice.suggest import Remedy
    from actprof.cell import Cell
    from actprof.prediction.many import Answer
    from actprof.preflight_check.preflight import Preflight

_MANY = 12  # cards from which on it pays to start workers


def predict(**options: Any) -> Result:
    """Predict one training run without a GPU.

    `actprof.predict(policy="act", resolution="640x480", cameras=2, batch_size=64, gpu="RTX 3090")`;
    the options are those of `make_cell`.

    Raises:
        UsageError: an option, a GPU or a field of the policy's config that cannot be.
    """
    return predict_cell(make_cell(**options))


def predict_cards(
    names: Sequence[str], *, listener: Listener = nobody, jobs: int | None = None, **options: Any
) -> tuple[Result, ...]:
    """Predict one training run on several cards; the result of each, in their order.

    Args:
        names: of cards of the catalogue; `all` stands for every card with CUDA.
        listener: told about the progress.
        jobs: worker processes; one for each core if left out.
        **options: those of `predict` but the card.

    Raises:
        UsageError: as `predict`.
    """
    from actprof.prediction.many import here_if_traced, predict_each
    from actprof.processes.pool import Workers

    known = builtin_catalogue()
    cards = [gpu.name for gpu in known.cuda] if "all" in names else names
    cells = [make_cell(**options, gpu=name) for name in dict.fromkeys(cards)]
    workers = Workers(jobs=jobs, listener=listener)
    few = here_if_traced(cells, workers) if len(cells) < _MANY else workers
    answers = zip(cells, predict_each(cells, known, few), strict=True)
    return tuple(_told(cell, answer) for cell, answer in answers)


def _told(cell: Cell, answer: Answer) -> Result:
    """Return the result that an answer is, or that says why there is none; a wrong question is raised."""
    if isinstance(answer, Result):
        return answer
    if isinstance(answer, UsageError):
        raise answer
    return unknown_result(cell, str(answer))


def params(**options: Any) -> PolicyFacts:
    """Return the parameters of a policy, one by one, with their components; options as in `predict`."""
    trace, _cached = trace_for(make_cell(**options))
    return trace.policy


def explain(**options: Any) -> Explanation:
    """Say who holds the memory of one training run, without a GPU.

    At the peak and, where it runs out, at that moment: by kind, module, op and tensor. The options are
    those of `make_cell`.

    Raises:
        UsageError: an option, a GPU or a field of the policy's config that cannot be.
        TraceError: the training step cannot be traced; says why.
    """
    return explain_cell(make_cell(**options))


def write_explanation_page(
    found: Explanation,
    path: str | Path,
    *,
    versus: Explanation | None = None,
    remedy: Remedy | None = None,
) -> Path:
    """Write the page of an explanation, one file that needs no network, and return its path.

    With `versus`, another explanation, it shows the difference as well; `remedy` is the best thing to do
    (`actprof.advice.first_aid.first_aid`).

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.explain_page import render_explanation
    from actprof.report.page import write_page

    return write_page(path, render_explanation(found, versus=versus, remedy=remedy))


def write_perfetto(found: Explanation, path: str | Path) -> Path:
    """Write the predicted step as a file for Perfetto (https://ui.perfetto.dev) and return its path.

    It is in the trace event format of PyTorch's profiler: JSON, gzipped if the path ends with `.gz`.

    Raises:
        UsageError: no step is predicted, as the speed of the GPU is unknown.
        StoreError: the file cannot be written.
    """
    from actprof.prediction.perfetto import perfetto_json

    text, path = perfetto_json(found.prediction), Path(path)
    data = text.encode()
    write_whole(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def preflight(
    command: str | Sequence[str] = (),
    *,
    config: str | Path | None = None,
    remedies: bool = True,
    **given: Any,
) -> Preflight:
    """Say whether a `lerobot-train` command will run out of memory.

    Args:
        command: the command as it would be run, one text or its words.
        config: a saved `train_config.json` instead.
        remedies: also look for them where the run does not simply fit.
        **given: what the command does not say, fields of `actprof.training_command.command_line.Given`.

    Raises:
        UsageError: lerobot refuses the command, or something needed is neither found nor given.
        UnknownAnswerError: the command names a file on the Hub that cannot be had.
    """
    from actprof.preflight_check.run_preflight import run_preflight
    from actprof.training_command.command_line import Given, parse_command_line

    if config is not None and command:
        raise UsageError("give a command or --config, not both; a command may have --config_path itself")
    if config is not None:
        command = ("lerobot-train", f"--config_path={os.fspath(config)}")
    return run_preflight(
        parse_command_line(command), Given(**given), may_exist=config is not None, remedies=remedies
    )
