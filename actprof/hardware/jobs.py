"""The machines of Hugging Face Jobs that `--job.target` names, and the GPU in each (`jobs.toml`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from actprof.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True)
class JobMachine:
    """The catalogue's name of a machine's GPU, and how many of them it has."""

    gpu: str
    count: int


def job_machine(flavour: str) -> JobMachine:
    """Return the machine that `--job.target=FLAVOUR` runs on.

    Raises:
        UsageError: a flavour that is not known, or has no GPU.
    """
    entry = flavours().get(flavour)
    if entry is None and flavour.startswith("cpu"):
        raise UsageError(f"--job.target={flavour} has no GPU; name a flavour that has one, like a10g-large")
    if entry is None:
        near = did_you_mean(flavour, *flavours())
        hint = f"; {near}" if near else ""
        raise UsageError(
            f"--job.target={flavour} is no flavour with a GPU that actprof knows{hint or '.'} "
            "Name its GPU with --gpu"
        )
    return JobMachine(entry["gpu"], entry["count"])


PRICE_SOURCE = "indicative, unverified: Hugging Face's price list as remembered; see huggingface.co/pricing"


def job_dollars(flavour: str) -> float | None:
    """Return the indicative dollars per hour of a flavour; None where none is known."""
    price = flavours().get(flavour, {}).get("usd_per_hour")
    return None if price is None else float(price)


def card_dollars(gpu: str) -> float | None:
    """Return the indicative dollars per hour of the cheapest machine with one such card, or None."""
    prices = (
        float(entry["usd_per_hour"])
        for entry in flavours().values()
        if entry["gpu"] == gpu and entry["count"] == 1 and "usd_per_hour" in entry
    )
    return min(prices, default=None)


@cache
def flavours() -> dict[str, dict[str, Any]]:
    """Return flavour -> its entry in `jobs.toml`: `gpu`, `count`, and `usd_per_hour` where it is known."""
    text = resources.files("actprof.hardware").joinpath("jobs.toml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = tomllib.loads(text)["flavours"]
    return found
