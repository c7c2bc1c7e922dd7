"""What launching kernels costs the processor: known hosts, and the one that stands for others."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
        times = ("forward", "backward", "optimizer", "tensor", "step", "wait")
        return Host(
            name=self.name,
            processor=self.processor,
            source=self.source,
            **{name: getattr(self, name) / factor for name in times},
        )


@cache
def known_hosts() -> tuple[Host, ...]:
    """Return the hosts that come with actprof; the first stands for one that nobody named."""
    return tuple(host_of(entry) for entry in tomllib.loads(_FILE.read_text(encoding="utf-8"))["host"])


def default_host() -> Host:
    """Return the host that stands for one that nobody named."""
    return known_hosts()[0]


def host_of(entry: Mapping[str, str | float]) -> Host:
    """Return the host of an entry as in `hosts.toml`, times in microseconds."""
    values: dict[str, Any] = {
        name: value * 1e-6 if isinstance(value, float) else value for name, value in entry.items()
    }
    return Host(**values)
