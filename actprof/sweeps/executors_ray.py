"""Tasks on a Ray cluster: Ray decides where they run, and runs again what a lost machine was doing."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from actprof.errors import DiedError, UsageError
from actprof.processes.remote import Needs, RemoteExecutor, needs_of, outcome
from actprof.progress import say
from actprof.words import plural

# Before Ray is imported: it is not to report home, nor to remark on containers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DISABLE_DOCKER_CPU_WARNING", "1")
import ray

_T = TypeVar("_T")
_RETRIES = 3  # of a task whose machine or process is lost
_STORE_BYTES = 100_000_000  # of a local cluster, for traces; Ray wants 78 MB at least
_LOOK_SECONDS = 2.0
_KNOCK_SECONDS = 10.0
_TASKS_PER_CORE = 4


class RayExecutor(RemoteExecutor):
    """Hands tasks to the Ray cluster at `address`, or to one of `jobs` processes that ends with this.

    In a process that is connected to a cluster already, that one is used, and left as it is.

    Raises:
        UsageError: no cluster answers there, or it has another Ray or Python.
    """

    def __init__(self, address: str = "", *, jobs: int | None = None) -> None:
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(address or os.environ.get("RAY_ADDRESS", ""), jobs)
        self._looked = float("-inf")
        self._doing = ""
        self._resources: dict[str, float] = {}
        self._most_memory = min(
            (node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0
        )
        self._remotes: dict[Needs, Any] = {}

    @property
    def window(self) -> int:
        """A few tasks for each core of the cluster as it is now."""
        return int(max(self.resources.get("CPU", 1), 1)) * _TASKS_PER_CORE

    @property
    def doing(self) -> str:
        """How many cores are busy, on how many machines."""
        self._look()
        return self._doing

    @property
    def resources(self) -> Mapping[str, float]:
        """What the cluster has, by Ray's names."""
        self._look()
        return self._resources

    def keep(self, value: _T) -> _T:
        """Put `value` into the object store once; each machine fetches it when it first needs it."""
        kept: _T = ray.put(value)
        return kept

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run `fn` where there is what it needs."""
        needs = needs_of(fn)
        if needs not in self._remotes:
            self._remotes[needs] = ray.remote(**self._options(needs))(outcome)
        return _Answer(self._remotes[needs].remote(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Leave the cluster; end it if it was started for this."""
        if self._is_ours:
            ray.shutdown()

    def _options(self, needs: Needs) -> dict[str, Any]:
        # a machine that is too small for what we ask gets a try rather than nothing
        options: dict[str, Any] = {
            "num_cpus": needs.cores,
            "memory": int(min(needs.memory_bytes, self._most_memory)),
        }
        if needs.gpus:
            options |= {"num_gpus": needs.gpus, "resources": {needs.named: _SOME} if needs.named else {}}
        return {**options, "max_retries": _RETRIES}

    def _look(self) -> None:
        if time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with suppress(ray.exceptions.RayError):
            self._resources = ray.cluster_resources()
            there = self._resources.get("CPU", 0.0)
            busy = there - ray.available_resources().get("CPU", 0.0)
            machines = sum(node["Alive"] for node in ray.nodes())
            self._doing = f"{busy:.0f} of {there:.0f} cores busy on {machines} {plural(machines, 'machine')}"


_SOME = 0.001  # of a resource that only says what kind of GPU it is: what there is is not used up


def _connect(address: str, jobs: int | None) -> None:
    told: dict[str, Any] = {"address": address}
    if not address:  # "local": else it would be whichever is there
        told = {"address": "local", "num_cpus": jobs, "include_dashboard": False}
        told["object_store_memory"] = _STORE_BYTES
    say(f"connecting to the Ray cluster at {address}" if address else "starting Ray on this machine")
    _check_answers(address)
    try:
        ray.init(**told, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises whatever, and that alone where a node is slow to start
        where = f"the Ray cluster at {address}" if address else "a Ray of this machine"
        raise UsageError(f"{where} cannot be used: {error}") from error


def _check_answers(address: str) -> None:
    """Knock at a plain `host:port`, where Ray itself would wait for minutes.

    Raises:
        UsageError: nobody opens.
    """
    host, colon, port = address.rpartition(":")
    if "/" in address or not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({error}); `ray start --head` there prints its address"
        ) from error


class _Answer(Future[Any]):
    """The future of a task; cancelling it cancels the task."""

    def __init__(self, reference: Any) -> None:
        super().__init__()
        self._reference = reference
        reference.future().add_done_callback(self._settle)

    def cancel(self) -> bool:
        """Have it run no more."""
        cancelled = super().cancel()  # before it is told so
        with suppress(ray.exceptions.RayError):
            ray.cancel(self._reference, force=True)
        return cancelled

    def _settle(self, done: Future[Any]) -> None:
        if self.cancelled():
            return
        if (lost := done.exception()) is not None:
            lines = str(lost).strip().splitlines() or [""]
            said = lines[-1 if isinstance(lost, ray.exceptions.RayTaskError) else 0]
            self.set_exception(DiedError(f"Ray lost it: {said}"))
            return
        value, error = done.result()
        if error is None:
            self.set_result(value)
        else:
            self.set_exception(error)
