"""Versions of what decides a prediction, read from package metadata and files: nothing is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

UNKNOWN = "unknown"
SHIPPED_TORCH = "2.11.0"  # of the traces that come with actprof


_elsewhere: ContextVar[Mapping[str, str] | None] = ContextVar("elsewhere", default=None)


def package_version(name: str) -> str:
    """Return the installed version of a package without its build tag, or `UNKNOWN`."""
    return (_elsewhere.get() or {}).get(name) or _installed_version(name)


@contextmanager
def versions_of(versions: Mapping[str, str]) -> Iterator[None]:
    """Inside, these are the versions: those of the machine that asks, where this one answers for it."""
    token = _elsewhere.set(versions)
    try:
        yield
    finally:
        _elsewhere.reset(token)


@cache
def _installed_version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return UNKNOWN


def library_versions(*more: str) -> dict[str, str]:
    """Return the versions of actprof, lerobot and torch, and of those of `more` that are installed."""
    installed = [name for name in more if package_version(name) != UNKNOWN]
    return {name: package_version(name) for name in ("actprof", "lerobot", "torch", *installed)}


@cache
def code_digest(*parts: str) -> str:
    """Return a digest of the source of some of our packages, so that what they made is told from older work.

    Args:
        parts: names below `actprof`: packages (`trace`) or modules (`prediction.py`).
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:20]


def torch_version() -> tuple[int, int]:
    """Return torch's (major, minor) version; without torch that of the traces that come with actprof."""
    installed = package_version("torch")
    major, minor = (SHIPPED_TORCH if installed == UNKNOWN else installed).split(".")[:2]
    return int(major), int(minor)
