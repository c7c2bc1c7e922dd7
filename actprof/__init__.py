"""actprof: does this robot-policy training run fit, who holds the memory, and where does it stop fitting?

    >>> import actprof
    >>> actprof.predict(policy="act", batch_size=64, gpu="RTX 3090").verdict
    'oom'

The public names are those of `actprof.api`, which is imported when the first of them is used: importing the
package alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actprof.api import *  # noqa: F403 - what `__getattr__` finds
else:

    def __getattr__(name: str) -> Any:
        """Look a public name, or `__all__`, up in `actprof.api` (PEP 562)."""
        if name == "__all__" or not name.startswith("_"):
            api = import_module("actprof.api")
            if name in ("__all__", *api.__all__):
                return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
