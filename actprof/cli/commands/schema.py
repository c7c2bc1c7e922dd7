"""Print the JSON Schema of scenario files."""

from __future__ import annotations

import click

from actprof.cli.console import print_json


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema of scenario files.

    Editors that speak YAML complete and check a scenario that begins with the line
    `# yaml-language-server: $schema=scenario.schema.json`.
    """
    from actprof.scenario.schema import scenario_json_schema

    print_json(scenario_json_schema())
