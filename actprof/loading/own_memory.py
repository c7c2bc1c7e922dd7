"""What a loader's processes hold: of their own by psutil, and in /dev/shm by the files that they have open.

Read at rest, when every worker has worked ahead as far as it may: by then nothing more goes into /dev/shm.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# torch's own files, which have no name any more once they are open.
_SHARED = "/dev/shm/torch_"  # noqa: S108 - nothing is written there
_BLOCK = 512  # bytes, the unit of st_blocks
_PAUSE = 0.1  # seconds from look to look


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMemory:
    """Bytes that one main process and its workers hold at rest.

    Attributes:
        main_bytes: memory of the main process that is neither of a file nor shared; None where that cannot be
            told. psutil's USS would count libraries that nobody else has open, and leave out what forked
            workers share with it.
        workers_bytes: USS of each worker.
        shm_bytes: all of /dev/shm's; None where it cannot be seen, or did not come to rest.
    """

    main_bytes: int | None = None
    workers_bytes: tuple[int, ...] = ()
    shm_bytes: int | None = None


def lacks_psutil() -> bool:
    """Tell whether psutil is missing, which reads the memory of processes."""
    try:
        import psutil  # type: ignore[import-untyped]  # noqa: F401 - whether it is there
    except ImportError:
        return True
    return False


def own_memory(batches: Iterator[Any], *, quiet: float, seconds: float) -> OwnMemory:
    """Return what this process and the workers of a DataLoader's iterator hold, one batch in hand.

    The workers are as far ahead as they may be once /dev/shm stays the same for `quiet` seconds; it is not
    told where it does not within `seconds`.
    """
    pids = [worker.pid for worker in getattr(batches, "_workers", ())]
    in_hand = next(batches)
    shared: int | None = 0
    if pids:
        shared = at_rest(lambda: shared_bytes([os.getpid(), *pids]), quiet=quiet, seconds=seconds)
    del in_hand  # psutil counts pages that only this process has open as its own
    if lacks_psutil():
        return OwnMemory(shm_bytes=shared)
    import psutil

    return OwnMemory(
        main_bytes=_anonymous(psutil.Process()),
        workers_bytes=tuple(psutil.Process(pid).memory_full_info().uss for pid in pids),
        shm_bytes=shared,
    )


def _anonymous(process: Any) -> int | None:
    """Return the bytes that are neither of a file nor shared memory; psutil says so on Linux alone."""
    if not hasattr(process, "memory_maps"):
        return None
    return sum(getattr(part, "anonymous", 0) for part in process.memory_maps(grouped=True)) or None


def at_rest(
    look: Callable[[], int | None],
    *,
    quiet: float,
    seconds: float,
    sleep: Callable[[float], object] = time.sleep,
) -> int | None:
    """Return what `look` finds once it stays so for `quiet` seconds; None where it does not in `seconds`."""
    last, same = look(), 0.0
    for _ in range(round(seconds / _PAUSE)):
        if same >= quiet or last is None:
            return last
        sleep(_PAUSE)
        now = look()
        last, same = now, same + _PAUSE if now == last else 0.0
    return last if same >= quiet else None


def shared_bytes(pids: Iterable[int], root: Path = Path("/proc")) -> int | None:
    """Return the bytes of torch's files in /dev/shm that these processes have open, each file once.

    None where the system does not show the files of a process.
    """
    if not root.is_dir():
        return None
    found: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):  # it has ended
            for link in (root / str(pid) / "fd").iterdir():
                with suppress(OSError):  # it was closed meanwhile
                    if str(link.readlink()).startswith(_SHARED):
                        state = link.stat()
                        found[state.st_ino] = state.st_blocks * _BLOCK
    return sum(found.values())
