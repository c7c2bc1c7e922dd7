"""Versions of what decides a prediction, read from package metadata: nothing is imported."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def package_version(name: str) -> str:
    """Return the installed version of a package without its build tag, or `unknown`."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "unknown"


def library_versions() -> dict[str, str]:
    """Return the versions of actprof, lerobot and torch."""
    return {name: package_version(name) for name in ("actprof", "lerobot", "torch")}


def torch_version() -> tuple[int, int]:
    """Return torch's (major, minor) version."""
    major, minor = package_version("torch").split(".")[:2]
    return int(major), int(minor)
