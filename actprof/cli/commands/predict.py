"""Predict one training run, without a GPU."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.api import predict
from actprof.cli.answer import fact_table, print_bars, print_verdict
from actprof.cli.console import boundary_text, output, print_json
from actprof.cli.options import cell_options
from actprof.prediction.limits import limit_shares, speed_text, what_helps
from actprof.results import Result, Verdict
from actprof.units import format_bytes, format_seconds


@click.command(name="predict")
@cell_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(*, as_json: bool, **options: Any) -> None:
    """Predict one training run, without a GPU.

    lerobot's own training step runs on tensors without data; every allocation goes through PyTorch's
    allocator rules. The exit code is 0 whatever the verdict.

    \b
    Example:
      actprof predict --set chunk_size=50 --set n_action_steps=50 --batch-size 64 --gpu "RTX 3090"
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    result = predict(**options)
    if as_json:
        print_json(result.to_json(curve=False))
    else:
        print_result(result, output())


def print_result(result: Result, console: Console) -> None:
    """Print a verdict, then the numbers behind it."""
    print_verdict(result, console)
    if result.verdict == Verdict.UNKNOWN:
        return
    console.print()
    print_bars(result, console)
    console.print()
    console.print(_facts(result))


def _facts(result: Result) -> Table:
    table = fact_table()
    table.add_row("largest batch size", boundary_text(result))
    table.add_row("headroom", format_bytes(result.headroom_bytes))
    table.add_row("encoder tokens", f"{result.encoder_tokens:,}")
    table.add_row("parameters", f"{result.parameters:,}")
    if result.breakdown is not None:
        when = "where it runs out" if result.oom else "at the peak"
        table.add_row(f"memory {when}", escape(holders_text(result)))
    for name, text in speed_facts(result):
        table.add_row(name, escape(text))
    table.add_row("took", escape(_took(result)))
    return table


def speed_facts(result: Result, *, limited_by: str = "", data_share: float = 0.0) -> list[tuple[str, str]]:
    """Return what a step takes and waits for, as rows of facts; none when the GPU's speed is not known.

    Args:
        result: a prediction.
        limited_by: what the whole run waits for, where that is not what its step waits for.
        data_share: of the run's time in which it waits for data.
    """
    if result.work is None:
        return []
    work = f"{result.kernel_launches:,} launches, {result.flops_per_sample / 1e9:.0f} GFLOP per sample"
    return [
        ("step, if it fits" if result.oom else "step", speed_text(result)),
        (
            "limited by",
            f"{limit_shares(result, data_share=data_share)} ({work}, GPU busy {result.work.busy_share:.0%})",
        ),
        *zip(("faster with", "or with"), what_helps(limited_by or result.limited_by, result), strict=False),
    ]


def holders_text(result: Result) -> str:
    """Return the largest holders: activations by component, everything else by kind."""
    breakdown = result.breakdown
    if breakdown is None:
        return ""
    whole = breakdown.allocated_bytes
    holders = {f"{name} activations": sum(parts.values()) for name, parts in breakdown.activations.items()}
    holders |= {name: size for name, size in breakdown.by_kind.items() if name != "activations"}
    largest = sorted(holders.items(), key=lambda item: -item[1])[:5]
    said = [f"{name} {size / whole:.0%}" for name, size in largest]
    groups = breakdown.activations.get(largest[0][0].removesuffix(" activations"), {}) if largest else {}
    if groups:
        name, size = max(groups.items(), key=lambda item: item[1])
        said[0] += f" ({name} {size / whole:.0%})"
    return ", ".join(said)


def _took(result: Result) -> str:
    timing = result.timing
    trace = "cached trace" if timing.trace_cached else f"traced in {format_seconds(timing.trace_seconds)}"
    return f"{trace}, replayed in {format_seconds(timing.replay_seconds)}"
