"""Show a policy's parameters by component."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from actprof.api import params
from actprof.cli.console import output, plain_table, print_json
from actprof.cli.options import cell_options, json_option
from actprof.policies.facts import Parameter, PolicyFacts
from actprof.units import format_bytes


@click.command(name="params")
@cell_options
@click.option("--all", "show_all", is_flag=True, help="One row per parameter.")
@json_option
def command(*, show_all: bool, as_json: bool, **options: Any) -> None:
    """Show a policy's parameters by component, and the size of a checkpoint's weights."""
    facts = params(**options)
    checkpoint_bytes = sum(p.bytes for p in facts.parameters)  # `model.safetensors` has the buffers as well
    if as_json:
        print_json(
            {
                "parameters": facts.parameter_count,
                "trainable": sum(p.count for p in facts.parameters if p.trainable and not p.is_buffer),
                "components": {name: sum(p.count for p in rows) for name, rows in _components(facts).items()},
                "checkpoint_bytes": checkpoint_bytes,
                "encoder_tokens": facts.encoder_tokens,
            }
        )
        return
    console = output()
    console.print(_every(facts) if show_all else _by_component(facts))
    buffers = sum(p.bytes for p in facts.parameters if p.is_buffer)
    tokens = f"; {facts.encoder_tokens} encoder tokens" if facts.encoder_tokens else ""
    console.print(
        f"\ncheckpoint: {format_bytes(checkpoint_bytes)} of weights "
        f"({format_bytes(buffers)} of it buffers){tokens}"
    )


def _components(facts: PolicyFacts) -> dict[str, list[Parameter]]:
    groups: dict[str, list[Parameter]] = {}
    for parameter in facts.parameters:
        if not parameter.is_buffer:
            groups.setdefault(parameter.component, []).append(parameter)
    return groups


def _by_component(facts: PolicyFacts) -> Table:
    table = plain_table("component", ">parameters", ">trainable", ">size", pad_edge=True)
    for component, rows in _components(facts).items():
        table.add_row(component, *_numbers(rows))
    table.add_section()
    table.add_row("all", *_numbers([p for p in facts.parameters if not p.is_buffer]), style="bold")
    return table


def _numbers(rows: list[Parameter]) -> tuple[str, str, str]:
    count = sum(p.count for p in rows)
    trainable = sum(p.count for p in rows if p.trainable)
    return f"{count:,}", f"{trainable:,}", format_bytes(sum(p.bytes for p in rows))


def _every(facts: PolicyFacts) -> Table:
    table = plain_table("parameter", "component", ">elements", "trainable", pad_edge=True)
    for p in facts.parameters:
        kind = "buffer" if p.is_buffer else "yes" if p.trainable else "no"
        table.add_row(p.path, p.component, f"{p.count:,}", kind)
    return table
