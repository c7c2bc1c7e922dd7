"""How much memory this machine has left for a run: RAM, a container's limit of it, and /dev/shm.

Read where the kernel says it, without a library: `/proc/meminfo`, control groups (v2 and v1), statvfs(3).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from actprof.units import KIB

_ROOT = Path("/")
_GROUPS = Path("sys/fs/cgroup")
_V1 = 1 << 60  # no limit in v1 is a number near 2^63


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineMemory:
    """Bytes that a new process could take; None where this system does not say.

    Attributes:
        free_bytes: RAM that is free or that the kernel would give back, within the limits of control groups.
        is_limited: a control group (a container's, a job's) leaves less than the machine has.
        shm_bytes: free in /dev/shm.
    """

    free_bytes: int | None = None
    is_limited: bool = False
    shm_bytes: int | None = None


def machine_memory(root: Path = _ROOT) -> MachineMemory:
    """Return what is free now; `root` is the folder in which /proc, /sys and /dev are."""
    free, left = _available(root), min(_left_of_groups(root), default=None)
    is_limited = left is not None and (free is None or left < free)
    return MachineMemory(
        free_bytes=left if is_limited else free,
        is_limited=is_limited,
        shm_bytes=_free_shared(root / "dev/shm"),
    )


def _available(root: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * KIB
    if root != _ROOT:
        return None
    try:
        import psutil  # type: ignore[import-untyped]  # macOS and Windows have no /proc
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _free_shared(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except (AttributeError, OSError):
        return None
    return found.f_bavail * found.f_frsize


def _left_of_groups(root: Path) -> Iterator[int]:
    """Yield what each control group of this process leaves: its limit less what it uses and cannot drop."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        own = path.strip("/")
        if not names:
            yield from _left(root / _GROUPS, own, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in names.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(root / _GROUPS / "memory", own, files)


def _left(base: Path, own: str, files: tuple[str, str, str]) -> Iterator[int]:
    limit_file, used_file, droppable = files
    folder = base / own
    for place in (folder, *folder.parents):
        with suppress(OSError, ValueError):  # `max`, or a folder that the container does not see
            limit = int((place / limit_file).read_text(encoding="ascii"))
            if limit < _V1:
                used = int((place / used_file).read_text(encoding="ascii"))
                yield max(limit - used + _statistic(place / "memory.stat", droppable), 0)
        if place == base:
            return


def _statistic(path: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0
