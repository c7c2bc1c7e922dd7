"""Show a policy's parameters by component, what is trained apart from what is frozen."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from actprof.api import params
from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.cli.console import output, plain_table, print_json
from actprof.cli.options import cell_options, json_option
from actprof.policies import policy_title, tokens_called
from actprof.policies.facts import PolicyFacts
from actprof.records import to_plain
from actprof.units import format_bytes
from actprof.words import COMPONENT_HEADS, component_rows, views_text


@click.command(name="params")
@cell_options
@click.option("--all", "show_all", is_flag=True, help="One row per parameter.")
@json_option
def command(*, show_all: bool, as_json: bool, **options: Any) -> None:
    """Show a policy's parameters by component, and the size of a checkpoint's weights."""
    facts = params(**options)
    checkpoint_bytes = sum(p.bytes for p in facts.parameters)  # `model.safetensors` has the buffers as well
    trained = sum(size.trainable for size in facts.by_component)
    if as_json:
        print_json(
            {
                "parameters": facts.parameter_count,
                "trainable": trained,
                "components": {size.component: size.trainable + size.frozen for size in facts.by_component},
                "by_component": to_plain(facts.by_component),
                "checkpoint_bytes": checkpoint_bytes,
                "encoder_tokens": facts.encoder_tokens,
            }
        )
        return
    console = output()
    console.print(_every(facts) if show_all else _by_component(facts))
    buffers = sum(p.bytes for p in facts.parameters if p.is_buffer)
    of_them = "all" if trained == facts.parameter_count else f"{trained:,} of them"
    console.print(f"\n{facts.parameter_count:,} parameters, {of_them} trained")
    console.print(
        f"checkpoint: {format_bytes(checkpoint_bytes)} of weights ({format_bytes(buffers)} of it buffers)"
    )
    if facts.encoder_tokens:
        console.print(f"{facts.encoder_tokens:,} {tokens_called(options['policy'])}")
    console.print(f"[dim]of {escape(_shapes(make_cell(**options)))}[/]")


def _shapes(cell: Cell) -> str:
    """Return for which shapes: cameras, state and action, and what of the config is set."""
    told = [f"{policy_title(cell.policy)} with {views_text(cell.cameras, cell.resolution)}"]
    told += [f"a state of {cell.state_dim}, an action of {cell.action_dim} numbers"]
    told += [f"{name}={value}" for name, value in cell.overrides.items()]
    return ", ".join(told)


def _by_component(facts: PolicyFacts) -> Table:
    heads = [name.lower() for name in COMPONENT_HEADS]
    table = plain_table(heads[0], *(f">{name}" for name in heads[1:-1]), heads[-1], pad_edge=True)
    *components, total = component_rows(facts.by_component)
    for row in components:
        table.add_row(*map(escape, row))
    table.add_section()
    table.add_row(*total, style="bold")
    return table


def _every(facts: PolicyFacts) -> Table:
    table = plain_table("parameter", "component", ">elements", "dtype", "trainable", pad_edge=True)
    for p in facts.parameters:
        kind = "buffer" if p.is_buffer else "yes" if p.trainable else "no"
        table.add_row(escape(p.path), escape(p.component), f"{p.count:,}", escape(p.dtype), kind)
    return table
