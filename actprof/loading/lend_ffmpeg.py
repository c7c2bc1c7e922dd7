"""Lend torchcodec the FFmpeg libraries that PyAV's wheel brings, where the system has none.

torchcodec looks for `libavcodec.so.61` and its siblings by those names; PyAV's wheel has them under names of
its own. A folder of links with both names, put on `LD_LIBRARY_PATH`, is enough. Nothing is copied or changed.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from actprof.loading.rows import TORCHCODEC

_LIBRARY = re.compile(r"(?P<name>lib(?:av[a-z]+|sw[a-z]+))-[0-9a-f]+\.so\.(?P<major>\d+)")
_MISSING = re.compile(r"(lib\w+\.so(?:\.\d+)?): cannot open shared object file")


def lend_ffmpeg(folder: Path) -> Path | None:
    """Fill `folder` with links to PyAV's libraries and return it; None where PyAV brings none.

    Raises:
        OSError: the folder cannot be written.
    """
    found = find_spec("av")
    if found is None or not found.origin:
        return None
    own = sorted((Path(found.origin).parent.parent / "av.libs").glob("*.so*"))
    if not any(_LIBRARY.match(file.name) for file in own):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for file in own:
        match = _LIBRARY.match(file.name)
        names = [file.name] + ([f"{match['name']}.so.{match['major']}"] if match else [])
        for name in names:
            link = folder / name
            if not link.is_symlink() or link.readlink() != file:
                link.unlink(missing_ok=True)
                link.symlink_to(file)
    return folder


def why_not(backend: str) -> str:
    """Return why a video backend cannot be used here, or nothing."""
    if backend == TORCHCODEC:
        try:
            import_module("torchcodec.decoders")
        except (ImportError, OSError, RuntimeError) as error:
            return say_why_not(error)
    return ""


def say_why_not(error: BaseException) -> str:
    """Return in a line why torchcodec cannot be loaded."""
    missing = sorted(set(_MISSING.findall(str(error))))
    if missing:
        return f"torchcodec finds no FFmpeg libraries ({', '.join(missing)})"
    first = str(error).strip().splitlines() or [type(error).__name__]
    return f"torchcodec cannot be loaded ({first[0].strip()})"
