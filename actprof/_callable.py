"""Let a package be called like the function of the public API that has its name.

`actprof.sweep` is a package, and importing any part of it makes Python put that package where the function
of the same name would be. So the package itself takes the call.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package whose call is the call of `actprof.api`'s function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = getattr(import_module("actprof.api"), self.__name__.rpartition(".")[2])
        return function(*args, **kwargs)


def make_callable(package: str) -> None:
    """Let the package named `package` (`actprof.sweep`) be called."""
    sys.modules[package].__class__ = _CallablePackage
