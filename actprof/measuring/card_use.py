"""From single looks at a card to the `CardUse` of a run: pure bookkeeping, no NVML, no thread.

The bytes of the run's own process are, in this order:

1. what NVML lists under the run's process id and those of its descendants;
2. where it never lists them, as in a container: the one listed process that came after the run began and that
   this container's /proc does not know: ours under the host's id. Two such processes cannot be told apart;
3. where no such process is listed either: what the card grew over idle, less what other listed processes
   grew. That needs every other process to be listed with its bytes, so it is given up when one is not, or
   when the idle card already held more than a driver takes for itself.

Given up means 0: no figure rather than somebody else's.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from actprof.measurement import CardUse
from actprof.units import GIB

Relation: TypeAlias = Literal["own", "other", "unseen"]

_PROC = Path("/proc")
# NVML counts what the driver reserves as used: from a few MiB (GeForce) to about 1 GiB (data centre cards).
DRIVER_BYTES = 3 * GIB // 2

GPU_IDLE = 0x1
_LAST_LOOKS = 60  # that `busy_share` is the mean of

# nvml.h, nvmlClocksEventReason…; in the words of nvidia-smi. "None" is no bit, and idling is no throttling.
THROTTLE_REASONS = {
    0x2: "applications clocks setting",
    0x4: "SW power cap",
    0x8: "HW slowdown",
    0x10: "sync boost",
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake slowdown",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What NVML said of a card at one moment.

    Attributes:
        card_bytes: in use, over all processes.
        processes: process id -> bytes, None where the driver does not say.
        sm_clock_mhz, temperature_c: None where the driver does not say.
        reasons: NVML's bits of why the clocks are lower than they could be.
        busy_percent: of the time since the last sample (of a second or less), in which a kernel ran.
    """

    card_bytes: int
    processes: Mapping[int, int | None] = field(default_factory=dict)
    sm_clock_mhz: int | None = None
    temperature_c: int | None = None
    reasons: int = 0
    busy_percent: int | None = None


class CardTally:
    """Adds up the looks of one run.

    Args:
        relation: tells what a listed process id is to the run's; asked once for each listed process.
    """

    def __init__(self, relation: Callable[[int, int], Relation]) -> None:
        self._relation = relation
        self._relations: dict[int, Relation] = {}
        self._idle = Look(card_bytes=0)
        self._samples = 0
        self._card = 0
        self._listed: int | None = None  # highest of the run's listed processes
        self._guessed: int | None = 0  # highest by the rules 2 and 3; None: given up
        self._last_listed = self._last_guessed = 0  # at the last look that showed the run
        self._newcomers: set[int] = set()
        self._strangers = 0  # highest of all that are not listed as the run's
        self._others = 0  # ... without the newcomers of rule 2
        self._clocks: tuple[int, int] | None = None
        self._temperature = 0
        self._reasons = 0
        self._busy: deque[int] = deque(maxlen=_LAST_LOOKS)

    def idle(self, look: Look, pid: int | None = None) -> None:
        """Take `look` as the card before the run; what a process that already runs holds is taken off."""
        own = self._own(look, pid) if pid is not None else {}
        rest = {listed: used for listed, used in look.processes.items() if listed not in own}
        bytes_before = look.card_bytes - sum(used or 0 for used in own.values())
        self._idle = Look(card_bytes=max(bytes_before, 0), processes=rest)

    def add(self, look: Look, pid: int) -> None:
        """Add a look at the card while the run, process `pid`, is there."""
        self._samples += 1
        self._card = max(self._card, look.card_bytes)
        self._temperature = max(self._temperature, look.temperature_c or 0)
        self._reasons |= look.reasons & ~GPU_IDLE
        if look.busy_percent is not None:
            self._busy.append(look.busy_percent)
        if look.sm_clock_mhz is not None and not look.reasons & GPU_IDLE:
            low, high = self._clocks or (look.sm_clock_mhz, look.sm_clock_mhz)
            self._clocks = (min(low, look.sm_clock_mhz), max(high, look.sm_clock_mhz))
        self._add_processes(look, self._own(look, pid))

    def use(self) -> CardUse | None:
        """Return what the looks add up to; None without one.

        Clocks are those of looks at which the card was not idle.
        """
        if not self._samples:
            return None
        own = self._listed if self._listed is not None else self._guessed
        return CardUse(
            samples=self._samples,
            process_bytes=own or 0,
            last_bytes=self._last_listed or (self._last_guessed if own else 0),
            card_bytes=self._card,
            others_bytes=self._strangers if self._listed is not None else self._others,
            idle_bytes=self._idle.card_bytes,
            sm_clock_mhz=self._clocks or (0, 0),
            temperature_c=self._temperature,
            throttle_reasons=throttle_names(self._reasons),
            busy_share=statistics.fmean(self._busy) / 100 if self._busy else None,
        )

    def _own(self, look: Look, pid: int) -> dict[int, int | None]:
        for listed in look.processes:
            if listed not in self._relations:
                self._relations[listed] = self._relation(listed, pid)
        return {key: used for key, used in look.processes.items() if self._relations[key] == "own"}

    def _add_processes(self, look: Look, own: Mapping[int, int | None]) -> None:
        strangers = {key: used for key, used in look.processes.items() if key not in own}
        self._strangers = max(self._strangers, _sum(strangers))
        told = [used for used in own.values() if used is not None]
        if told:
            self._last_listed = sum(told)
            self._listed = max(self._listed or 0, self._last_listed)
            return
        newcomers = {} if own else self._unseen_since(strangers)
        others = {key: used for key, used in strangers.items() if key not in newcomers}
        self._newcomers |= newcomers.keys()
        self._others = max(self._others, _sum(others))
        guess = self._guess(look, newcomers, others)
        self._last_guessed = guess or self._last_guessed
        self._guessed = None if guess is None or self._guessed is None else max(self._guessed, guess)

    def _unseen_since(self, strangers: Mapping[int, int | None]) -> dict[int, int | None]:
        """Return those that came after the run began and that /proc does not know."""
        before = self._idle.processes
        return {
            key: used
            for key, used in strangers.items()
            if key not in before and self._relations[key] == "unseen"
        }

    def _guess(
        self, look: Look, newcomers: Mapping[int, int | None], others: Mapping[int, int | None]
    ) -> int | None:
        """Return the run's bytes by the rules 2 and 3; None where they cannot be told apart from others'."""
        if len(self._newcomers) > 1:
            return None
        known = [used for used in newcomers.values() if used is not None]
        if known:
            return known[0]
        before = self._idle.processes
        hidden = self._idle.card_bytes - _sum(before)
        if None in others.values() or None in before.values() or hidden > DRIVER_BYTES:
            return None
        growth = look.card_bytes - self._idle.card_bytes
        return max(growth - (_sum(others) - _sum(before)), 0)


def throttle_names(bits: int) -> tuple[str, ...]:
    """Return the names of NVML's clock reasons, idling left out (`SW power cap`)."""
    found = [1 << position for position in range(bits.bit_length()) if bits >> position & 1]
    return tuple(THROTTLE_REASONS.get(bit, f"reason {bit:#x}") for bit in found if bit != GPU_IDLE)


def _sum(processes: Mapping[int, int | None]) -> int:
    return sum(used or 0 for used in processes.values())


def relation(pid: int, run: int) -> Relation:
    """Return what the process `pid` is to the process `run`: itself or a descendant (`own`), or not.

    `unseen`: this machine's (or container's) /proc has no such process. Reads one small file per generation.
    """
    if pid == run:
        return "own"
    parent = _parent(pid)
    if parent is None:
        return "unseen"
    while parent:
        if parent == run:
            return "own"
        parent = _parent(parent)
    return "other"


def _parent(pid: int) -> int | None:
    """Return the parent's id, 0 of the first process, None without such a process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[1])  # pid (name) state parent …; the name may hold anything
