"""Watch a card through NVML while a run is on it, from the process that started the run.

A daemon thread looks 20 times a second; `card_use` adds the looks up. Nothing that NVML does raises out of
here: without an answer there is no `CardUse`, and `gone` tells that the GPU was lost on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Self, TypeVar

from actprof.measurement import CardUse
from actprof.measuring.card_use import CardTally, Look, relation
from actprof.measuring.nvml import device_handle, is_lost, listed_processes, open_nvml

# So many looks in a row without an answer (a second), and the GPU counts as gone.
_Told = TypeVar("_Told")
PATIENCE = 20
# A driver that hangs does not let go of the thread inside it; leaving the block waits no longer than this.
LEAVING_SECONDS = 10.0
THREAD_NAME = "actprof card watch"

_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


class CardWatch:
    """A `with` block that watches one card; enter it before the run starts, so that it sees the card idle.

    Args:
        index_or_uuid: NVML's index of the GPU, or its UUID.
        pid_of: the run's process id, or a function that returns it, None before it has started. What is seen
            until then is the idle card.
        nvml: stands for the module `pynvml`, in tests.
        hertz: looks per second.
    """

    def __init__(
        self,
        index_or_uuid: int | str,
        pid_of: int | Callable[[], int | None],
        *,
        nvml: Any = None,
        hertz: float = 20.0,
    ) -> None:
        self._which = index_or_uuid
        self._pid_of = pid_of
        self._pid: int | None = None
        self._given = nvml
        self._nvml: Any = None
        self._handle: Any = None
        self._pause = 1 / hertz
        self._tally = CardTally(relation)
        self._left = threading.Event()
        self._thread: threading.Thread | None = None
        self._gone = False

    @property
    def gone(self) -> bool:
        """Whether the GPU stopped answering: NVML says that it is lost, or says nothing for 20 looks."""
        return self._gone

    def use(self) -> CardUse | None:
        """Return what was seen, once the block is left; None where NVML never answered during the run."""
        return self._tally.use()

    def stop(self) -> None:
        """Look no more: from now on the run gives back what it held."""
        self._left.set()

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            self._nvml = resources.enter_context(open_nvml(self._given))
            if self._nvml is not None and self._first_look():
                self._thread = threading.Thread(
                    target=self._watch, args=(resources.pop_all(),), name=THREAD_NAME, daemon=True
                )
                self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(LEAVING_SECONDS)
            self._gone = self._gone or self._thread.is_alive()

    def _first_look(self) -> bool:
        try:
            self._handle = device_handle(self._nvml, self._which)
            self._tally.idle(look_at(self._nvml, self._handle), self._run_pid())
        except self._nvml.NVMLError as error:
            self._gone = is_lost(self._nvml, error)
            return False
        return True

    def _watch(self, resources: ExitStack) -> None:
        """Look until the block is left; the thread closes NVML itself, as a call that hangs holds a lock."""
        with resources:
            self._watch_until_left()

    def _watch_until_left(self) -> None:
        unanswered = 0
        while not self._left.wait(self._pause):
            try:
                self._look()
                unanswered = 0
            except Exception as error:  # noqa: BLE001 - a watcher must not end, or print into, the run
                unanswered += 1
                lost = is_lost(self._nvml, error)
                if lost or unanswered >= PATIENCE:
                    self._gone = lost or isinstance(error, self._nvml.NVMLError)
                    return

    def _look(self) -> None:
        look = look_at(self._nvml, self._handle)
        pid = self._run_pid()
        if pid is None:
            self._tally.idle(look)
        else:
            self._tally.add(look, pid)

    def _run_pid(self) -> int | None:
        """Return the run's process, once it has one the first that it had."""
        if self._pid is None:
            self._pid = self._pid_of() if callable(self._pid_of) else self._pid_of
        return self._pid


def look_at(nvml: Any, handle: Any) -> Look:
    """Return what NVML says of a card now; only its memory must be told.

    Raises:
        nvml.NVMLError: the card's memory is not told, or the GPU is lost.
    """
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    clock = _unless_lost(nvml, lambda: int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)))
    heat = _unless_lost(nvml, lambda: int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)))
    return Look(
        card_bytes=int(memory.used),
        processes=listed_processes(nvml, handle),
        sm_clock_mhz=clock,
        temperature_c=heat,
        reasons=_clock_reasons(nvml, handle),
        busy_percent=_busy_percent(nvml, handle),
    )


def _busy_percent(nvml: Any, handle: Any) -> int | None:
    ask = getattr(nvml, "nvmlDeviceGetUtilizationRates", None)
    return None if ask is None else _unless_lost(nvml, lambda: int(ask(handle).gpu))


def _clock_reasons(nvml: Any, handle: Any) -> int:
    """Return NVML's bits, through its new name or the one that drivers before 535 know."""
    for name in _REASONS:
        ask = getattr(nvml, name, None)
        bits = None if ask is None else _unless_lost(nvml, partial(ask, handle))
        if bits is not None:
            return int(bits)
    return 0


def _unless_lost(nvml: Any, ask: Callable[[], _Told]) -> _Told | None:
    """Return what `ask` does, None when NVML cannot tell; a lost GPU is told by raising."""
    try:
        return ask()
    except nvml.NVMLError as error:
        if is_lost(nvml, error):
            raise
        return None
