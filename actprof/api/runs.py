"""Questions about one run: does it fit, who holds the memory, what helps, what does a command mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.api.cells import either, make_cell
from actprof.errors import UsageError
from actprof.explanation.explain import Explanation, explain_cell
from actprof.policies.facts import PolicyFacts
from actprof.prediction.predict import predict_cell
from actprof.results import Result
from actprof.scenario import Cell
from actprof.trace.cache import trace_for

if TYPE_CHECKING:
    from actprof.advice.combinations import Combination
    from actprof.advice.suggest import Listener, Remedy
    from actprof.preflight_check.answer import Preflight


def predict(**options: Any) -> Result:
    """Predict one training run without a GPU.

    `actprof.predict(policy="act", resolution="640x480", cameras=2, batch_size=64, gpu="RTX 3090")`;
    the options are those of `make_cell`.

    Raises:
        UsageError: an option, a GPU or a field of the policy's config that cannot be.
    """
    return predict_cell(make_cell(**options))


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
    found: Explanation, path: str | Path, *, versus: Explanation | None = None
) -> Path:
    """Write the page of an explanation, one file that needs no network, and return its path.

    Args:
        found: from `explain`.
        path: of the file.
        versus: another one, whose difference the page shows as well.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.explain_page import write_explain_page

    return write_explain_page(found, path, versus=versus)


def suggest(
    *,
    cell: Cell | None = None,
    target_batch: int | None = None,
    limit: int | None = None,
    only_cached: bool = False,
    jobs: int | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> tuple[Remedy, ...]:
    """Return what can be done so that a training run fits, the most useful first, each with its prediction.

    Args:
        cell: the run; else `options` say which.
        target_batch: the batch size that is wanted; it is then not made smaller.
        limit: so many remedies at most.
        only_cached: leave out what would have to be traced.
        jobs: worker processes for tracing; one for each core if left out.
        listener: told about the progress.
        **options: those of `make_cell`.

    Raises:
        UsageError: an option that cannot be.
    """
    from actprof.advice.suggest import suggest as suggest_for

    return suggest_for(
        either(cell, options),
        target_batch=target_batch,
        limit=limit,
        only_cached=only_cached,
        jobs=jobs,
        listener=listener,
    )


def reach(
    target_batch: int,
    *,
    cell: Cell | None = None,
    limit: int = 4,
    jobs: int | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> tuple[Combination, ...]:
    """Return which remedies, up to three together, make a batch size fit; the least effort first.

    Args:
        target_batch: the batch size that is wanted.
        cell: the run; else `options` say which.
        limit: so many answers at most.
        jobs: worker processes for tracing; one for each core if left out.
        listener: told about the progress.
        **options: those of `make_cell`.

    Raises:
        UsageError: an option that cannot be.
    """
    from actprof.advice.combinations import reach as reach_for

    return reach_for(either(cell, options), target_batch, limit=limit, jobs=jobs, listener=listener)


def preflight(
    command: str | Sequence[str] = (),
    *,
    config: str | Path | None = None,
    gpu: str | None = None,
    capacity: str | None = None,
    used_by_others: str | None = None,
    cameras: int | None = None,
    resolution: str | None = None,
    state_dim: int | None = None,
    action_dim: int | None = None,
    load_seconds: float | None = None,
    price_per_hour: float | None = None,
    remedies: bool = True,
) -> Preflight:
    """Say whether a `lerobot-train` command will run out of memory.

    Args:
        command: the command as it would be run, one text or its words.
        config: a saved `train_config.json` instead.
        gpu: the card that it is to run on; that of `--job.target`, else the one in this machine as it is
            now, if left out.
        capacity: its memory, like `"23.69GiB"`.
        used_by_others: what other programs hold of a card that is not here.
        cameras: how many, where the dataset's metadata is not at hand or others are meant.
        resolution: of each of them.
        state_dim: length of the robot's state, likewise.
        action_dim: length of one action, likewise.
        load_seconds: from one batch to the next, as `measure_loader` finds; loading is left out otherwise.
        price_per_hour: dollars, of the machine; that of `--job.target` if left out.
        remedies: also look for them where the run does not simply fit.

    Raises:
        UsageError: lerobot refuses the command, or something needed is neither found nor given.
        UnknownAnswerError: the command names a file on the Hub that cannot be had.
    """
    from actprof.preflight_check.answer import GpuAsked, config_command, run_preflight
    from actprof.preflight_check.command_line import parse_command_line
    from actprof.preflight_check.duration import SpeedGiven
    from actprof.preflight_check.run_cell import Given

    if config is not None and command:
        raise UsageError("give a command or --config, not both; a command may have --config_path itself")
    line = parse_command_line(command) if config is None else config_command(config)
    return run_preflight(
        line,
        asked=GpuAsked(gpu=gpu, capacity=capacity, used_by_others=used_by_others),
        given=Given(cameras=cameras, resolution=resolution, state_dim=state_dim, action_dim=action_dim),
        speed=SpeedGiven(load_seconds=load_seconds, price_per_hour=price_per_hour),
        may_exist=config is not None,
        remedies=remedies,
    )
