"""Executors whose workers are on other machines: they have what travels with a task, and nothing else.

A task says what it needs of a machine by being an `Errand`; where it runs is the engine's decision.
"""

from __future__ import annotations

import socket
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a task takes of a machine.

    Attributes:
        cores: of the processor.
        memory_bytes: of the host.
        gpus: whole ones.
        named: what the cluster calls the GPU, in its own words; any if left out.
        alone: it takes long enough for a job of its own, where tasks are put together.
    """

    cores: int = 1
    memory_bytes: int = 0
    gpus: int = 0
    named: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Errand:
    """A function that pickles, and what it needs where it runs."""

    function: Callable[..., Any]
    needs: Needs = field(default_factory=Needs)

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        return self.function(*args)


def needs_of(function: Callable[..., Any]) -> Needs:
    """Return what a task needs: one core where it says nothing."""
    return function.needs if isinstance(function, Errand) else Needs()


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    """Return what a task returns, or else the exception that it raises, which an engine would wrap."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        error.add_note(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
        return None, error


class RemoteExecutor(Executor, ABC):
    """Hands tasks to an engine of other machines.

    A machine that is lost costs what it was doing, which runs again; a task that no machine survives has a
    `DiedError`. Cancelling a future cancels its task there.
    """

    @property
    @abstractmethod
    def window(self) -> int:
        """How many tasks keep all machines busy."""

    @property
    @abstractmethod
    def doing(self) -> str:
        """What is known of where tasks run, in a few words."""

    def keep(self, value: _T) -> _T:
        """Return what stands for `value` among the arguments of many tasks, so that it travels once."""
        return value
