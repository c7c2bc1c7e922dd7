"""The kernel's page cache of some files: drop it without being root, and look at what is still in it."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def drop_cached(paths: Iterable[Path]) -> float | None:
    """Ask the kernel to forget these files; return the share of their pages that it kept, or None.

    It keeps what another process has mapped, and some file systems keep everything. None means that it
    cannot be asked or looked at on this system.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    kept = pages = 0
    for path in paths:
        with suppress(OSError), path.open("rb") as file:
            os.fsync(file.fileno())  # pages that are not written yet are never dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            found = _cached_pages(file.fileno())
            if found is None:
                return None
            kept, pages = kept + found[0], pages + found[1]
    return kept / pages if pages else None


def _cached_pages(descriptor: int) -> tuple[int, int] | None:
    """Return (pages in the cache, pages) of an open file, by mincore(2); None where that is not to be had."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0, 0
    pages = -(-size // mmap.PAGESIZE)
    seen = (ctypes.c_ubyte * pages)()
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        try:
            mincore = ctypes.CDLL(None, use_errno=True).mincore
            failed = mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), seen)
        except (AttributeError, OSError):
            return None
        finally:
            del start  # or the mapping cannot be closed
    return None if failed else (sum(page & 1 for page in seen), pages)
