"""Where what can be made again is kept, and files of which nobody ever sees half."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs

from actprof.errors import StoreError

CACHE_VARIABLE = "ACTPROF_CACHE_DIR"


def cache_folder() -> Path:
    """Return the folder of what can be made again: `$ACTPROF_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("actprof"))


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; a missing folder is made.

    Raises:
        StoreError: the file cannot be written.
    """
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(unfinished).chmod(0o666 & ~_umask())
        Path(unfinished).replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        if unfinished is not None:
            with suppress(OSError):  # after a success there is nothing to remove
                Path(unfinished).unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
