"""Who is on a GPU: the processes that NVML lists, and whether one of them belongs to a run.

In a container NVML lists the host's process ids, or none at all; such an id usually has no entry in the
container's /proc. `relation` tells that case (`unseen`) from a process of ours and from a known stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from actprof.measuring.nvml import device_handle, open_nvml, optional

type Relation = Literal["own", "other", "unseen"]

_PROC = Path("/proc")
_LISTS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardProcess:
    """A process that holds memory of a GPU.

    Attributes:
        pid: as NVML lists it; in a container that may be the host's.
        name: of the program, without its folder; empty when nobody tells.
        used_bytes: of that GPU; 0 when the driver does not say.
    """

    pid: int
    name: str
    used_bytes: int


def processes_on(which: int | str, *, nvml: Any = None) -> tuple[CardProcess, ...]:
    """Return the processes on a GPU, the largest first; none where NVML does not answer.

    Args:
        which: NVML's index of the GPU, or its UUID.
        nvml: stands for the module `pynvml`, in tests.
    """
    with open_nvml(nvml) as opened:
        if opened is None:
            return ()
        try:
            listed = listed_processes(opened, device_handle(opened, which))
        except opened.NVMLError:
            return ()
        found = [
            CardProcess(pid=pid, name=_name(opened, pid), used_bytes=used or 0)
            for pid, used in listed.items()
        ]
        return tuple(sorted(found, key=lambda process: (-process.used_bytes, process.pid)))


def listed_processes(nvml: Any, handle: Any) -> dict[int, int | None]:
    """Return process id -> bytes on the GPU (None: not told) of all that compute or draw on it.

    A process that does both stands in both of NVML's lists with the same bytes; it is counted once.
    """
    found: dict[int, int | None] = {}
    for name in _LISTS:
        for process in optional(nvml, partial(getattr(nvml, name), handle)) or ():
            used = process.usedGpuMemory
            known = found.get(process.pid)
            found[process.pid] = known if used is None else max(known or 0, int(used))
    return found


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


def _name(nvml: Any, pid: int) -> str:
    told = optional(nvml, lambda: str(nvml.nvmlSystemGetProcessName(pid)))
    if told:
        return PurePosixPath(told.split(" -", 1)[0]).name  # some drivers add the options
    try:
        return (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
