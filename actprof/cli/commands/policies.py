"""List lerobot's policies: traced or why not, how sure, what they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.api import known_policies
from actprof.api.policies import Evidence, KnownPolicy
from actprof.cli.console import output, plain_table, print_json
from actprof.cli.options import json_option
from actprof.errors import UsageError, did_you_mean
from actprof.ledger.keep import DEFAULT_FOLDER
from actprof.words import plural


@click.command(name="policies")
@click.argument("name", required=False)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    help="Folder of the accuracy ledger; reports/accuracy if left out.",
)
@json_option
def command(*, name: str | None, ledger: Path, as_json: bool) -> None:
    """List lerobot's policies: traced or why not, how sure predictions are, what they need.

    With NAME one of them, with the runs that it was held against and a command to begin with.
    """
    policies = known_policies(ledger)
    if name is not None:
        policies = (_find(name, policies),)
    if as_json:
        print_json([policy.to_json() for policy in policies])
        return
    console = output()
    if name is None:
        _show_all(policies, console)
    else:
        _show_one(policies[0], console)


def _find(name: str, policies: Sequence[KnownPolicy]) -> KnownPolicy:
    for policy in policies:
        if name.lower() in (policy.name, policy.title.lower()):
            return policy
    hint = did_you_mean(name, *(policy.name for policy in policies)) or "`actprof policies` lists them"
    raise UsageError(f"{name!r} is not a policy of lerobot that actprof knows; {hint}")


def _show_all(policies: Sequence[KnownPolicy], console: Console) -> None:
    traced = [policy for policy in policies if policy.traced]
    table = _table("traced", "", "how sure", "lerobot's extra")
    for policy in traced:
        table.add_row(policy.name, policy.title, _how_sure(policy), _extra(policy))
    console.print(table)
    others = _table("not traced", "why")
    for policy in policies:
        if not policy.traced:
            others.add_row(policy.name, policy.reason)
    console.print()
    console.print(others)
    console.print("\n`actprof policies NAME` says more, with a command to begin with")
    if any(policy.missing for policy in traced):
        console.print("* not installed here: pip install 'lerobot[EXTRA]'", markup=False)


def _table(first: str, *others: str) -> Table:
    table = plain_table()
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, no_wrap=name == "")
    return table


def _show_one(policy: KnownPolicy, console: Console) -> None:
    console.print(f"[bold]{escape(policy.title)}[/], lerobot's {escape(policy.name)}")
    if not policy.traced:
        console.print(f"not traced: {policy.reason}", markup=False)
        return
    for found in policy.evidence:
        console.print(f"  {_says(found)}", markup=False)
    if not policy.evidence:
        console.print("  nothing measured or published to hold predictions against")
    if policy.missing:
        console.print(
            f"  needs pip install 'lerobot[{policy.extra}]': {', '.join(policy.missing)}", markup=False
        )
    console.print(f"\n{policy.command}", markup=False, soft_wrap=True)


def _says(found: Evidence) -> str:
    apart = "" if found.worst_percent is None else f", allocated within {_percent(found.worst_percent)}"
    return f"{found.origin}: {_count(found.runs, 'run')} on {found.gpu}{apart}"


def _how_sure(policy: KnownPolicy) -> str:
    """Say on what it was measured, then how many figures others published."""
    if not policy.evidence:
        return "no run to hold it against"
    return "; ".join(
        f"{origin}: {_together([found for found in policy.evidence if found.origin == origin])}"
        for origin in dict.fromkeys(found.origin for found in policy.evidence)
    )


def _together(evidence: Sequence[Evidence]) -> str:
    runs = _count(sum(found.runs for found in evidence), "run")
    places = evidence[0].gpu if len(evidence) == 1 else _count(len(evidence), "device")
    apart = [found.worst_percent for found in evidence if found.worst_percent is not None]
    return f"{runs} on {places}" + (f", within {_percent(max(apart))}" if apart else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {plural(number, noun)}"


def _percent(value: float) -> str:
    return f"{value:.2f} %"


def _extra(policy: KnownPolicy) -> str:
    return f"{policy.extra}{' *' if policy.missing else ''}" if policy.extra else "none"
