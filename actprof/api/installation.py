"""What is installed here that answers depend on, and where actprof keeps its files."""

from __future__ import annotations

import platform

from actprof.cudnn import CudnnError
from actprof.cudnn.library import installed_version
from actprof.files import cache_folder, config_folder
from actprof.policies.lerobot_versions import RELEASED
from actprof.versions import SHIPPED_TORCH, UNKNOWN, package_version


def installation() -> dict[str, str]:
    """Return texts by name: the versions of actprof, lerobot, torch, cuDNN and Python, and two folders."""
    return {
        "actprof": package_version("actprof"),
        "lerobot": _version("lerobot", RELEASED),
        "torch": _version("torch", SHIPPED_TORCH),
        "cuDNN": _cudnn(),
        "Python": platform.python_version(),
        "cache": str(cache_folder()),
        "settings": str(config_folder()),
    }


def _version(package: str, shipped: str) -> str:
    found = package_version(package)
    return f"not installed; shipped traces are of {shipped}" if found == UNKNOWN else found


def _cudnn() -> str:
    try:
        return installed_version()
    except CudnnError:
        return "not installed; workspaces of convolutions are estimated"
