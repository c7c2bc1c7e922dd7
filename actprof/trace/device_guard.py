"""A device guard for a CUDA device that does not exist, where torch would ask the driver for one.

Up to torch 2.9 autograd asks a tensor's device for its stream and `.to("cuda")` for the current device, which
both start the driver; a build without CUDA has no guard at all. While tensors pretend to be on CUDA, its
entry in c10's `device_guard_impl_registry` (c10/core/impl/DeviceGuardImplInterface.h) points at the guard of
the meta device, which answers with constants, and a device without a number is the first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from actprof.errors import TraceError
from actprof.versions import torch_version

_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
_CUDA, _META = 1, 14  # c10::DeviceType
_to = torch.Tensor.to


@contextmanager
def driver_not_asked() -> Iterator[None]:
    """Inside, nothing of torch asks the CUDA driver for a device or a stream.

    Raises:
        TraceError: this torch would, and cannot be kept from it.
    """
    if torch.version.cuda is not None and torch_version() >= (2, 10):
        yield
        return
    registry = _registry()
    if registry is None:
        raise TraceError(
            f"PyTorch {torch.__version__} here has no guard of devices that could be replaced, so that no "
            "GPU can be imitated with it; an environment without lerobot answers from the traces that come "
            "with actprof"
        )
    before, registry[_CUDA] = registry[_CUDA], registry[_META]
    try:
        with mock.patch.object(torch.Tensor, "to", _to_first):
            yield
    finally:
        registry[_CUDA] = before


def _registry() -> ctypes.Array[ctypes.c_void_p] | None:
    """Return the guards by type of device; None where this platform names them otherwise."""
    try:
        library = next((Path(torch.__file__).parent / "lib").glob("libc10.*"))
        return (ctypes.c_void_p * (_META + 1)).in_dll(ctypes.CDLL(str(library)), _REGISTRY)
    except (OSError, StopIteration, ValueError):
        return None


def _to_first(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    named = {name: _numbered(value) for name, value in kwargs.items()}
    return _to(tensor, *map(_numbered, args), **named)


def _numbered(value: Any) -> Any:
    """Return the first CUDA device for one without a number, and anything else as it is."""
    if isinstance(value, str | torch.device) and str(value) == "cuda":
        return torch.device("cuda", 0)
    return value
