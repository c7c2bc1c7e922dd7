"""Where what can be made again is kept, and what users write; and files of which nobody ever sees half."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

import platformdirs

from actprof.errors import StoreError

_log = logging.getLogger(__name__)

CACHE_VARIABLE = "ACTPROF_CACHE_DIR"
CONFIG_VARIABLE = "ACTPROF_CONFIG_DIR"
_Kept = TypeVar("_Kept")


def cache_folder() -> Path:
    """Return the folder of what can be made again: `$ACTPROF_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("actprof"))


def config_folder() -> Path:
    """Return the folder of what users write: `$ACTPROF_CONFIG_DIR`, else their configuration folder."""
    chosen = os.environ.get(CONFIG_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_config_dir("actprof"))


def read_kept(path: Path, parse: Callable[[bytes], _Kept], called: str) -> _Kept | None:
    """Return what `parse` makes of a file that can be made again; None without it.

    One that cannot be read is a warning, in which it is `called` something like `trace`.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, StoreError) as error:
        _log.warning("the cached %s %s is damaged and will be made again (%s)", called, path, error)
        return None


def keep(path: Path, data: bytes, said: str) -> None:
    """Write what can be made again; a cache that cannot be written is a warning that `said` is not kept."""
    try:
        write_whole(path, data)
    except StoreError as error:
        _log.warning("%s could not be cached: %s", said, error)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; a missing folder is made.

    Raises:
        StoreError: the file cannot be written.
    """
    with writing_whole(path) as file:
        file.write(data)


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `path` when all is written to it, and nothing if not; as `write_whole`.

    Raises:
        StoreError: the file cannot be written.
    """
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
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
