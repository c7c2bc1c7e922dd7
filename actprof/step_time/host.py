"""What launching kernels costs the processor: known hosts, and the one that stands for others."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from actprof.errors import UsageError

VARIABLE = "ACTPROF_HOST"
TIMES = ("forward", "backward", "optimizer", "tensor", "step", "wait")
_FILE = Path(__file__).with_name("hosts.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A processor that launches; times in seconds.

    Attributes:
        name, processor: which one.
        forward, backward, optimizer: for each kernel of that phase, Python and dispatch included.
        tensor: for each parameter, of an optimizer whose ops take lists.
        step: of each update besides.
        wait: to go on after a value came from the device.
        source: where the figures are from.
    """

    name: str
    processor: str = ""
    forward: float
    backward: float
    optimizer: float
    tensor: float
    step: float
    wait: float
    source: str = ""

    def faster(self, factor: float) -> Host:
        """Return a host that does everything so many times as fast."""
        return Host(
            name=self.name,
            processor=self.processor,
            source=self.source,
            **{name: getattr(self, name) / factor for name in TIMES},
        )


@cache
def known_hosts() -> tuple[Host, ...]:
    """Return the hosts that come with actprof; the first stands for one that nobody named."""
    first, *others = tomllib.loads(_FILE.read_text(encoding="utf-8"))["host"]
    usual = _host_of(first)
    return usual, *(_like(usual, entry) for entry in others)


def default_host() -> Host:
    """Return the host that stands for one that nobody named."""
    return known_hosts()[0]


def named_host() -> Host | None:
    """Return the host that `ACTPROF_HOST` names, None for nothing.

    Raises:
        UsageError: nobody knows it.
    """
    name = os.environ.get(VARIABLE, "")
    return find_host(name) if name else None


def find_host(name: str) -> Host:
    """Return the known host whose name has `name` in it.

    Raises:
        UsageError: there is none, or several.
    """
    found = [host for host in known_hosts() if name.lower() in host.name.lower()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(repr(host.name) for host in found or known_hosts())
    raise UsageError(f"host {name!r} is {'ambiguous' if found else 'unknown'}; choose one of {names}")


def _host_of(entry: Mapping[str, str | float]) -> Host:
    values: dict[str, Any] = {
        name: float(value) * 1e-6 if name in TIMES else value for name, value in entry.items()
    }
    return Host(**values)


def _like(usual: Host, entry: Mapping[str, Any]) -> Host:
    told = {name: entry[name] for name in ("name", "processor", "source")}
    return replace(usual.faster(1 / entry["times"]), **told)
