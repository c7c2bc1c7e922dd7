"""The catalogue of GPUs, the device of a run, and what PyTorch's libraries take; no GPU is asked."""

from __future__ import annotations

from actprof.hardware.catalogue import Catalogue, all_gpus, builtin_catalogue, custom_gpu, find_gpu
from actprof.hardware.device import Device, LocalGpu, find_device
from actprof.hardware.gpu import Gpu
from actprof.hardware.workspaces import Workspaces, cublas_workspace_bytes, library_workspaces

__all__ = [
    "Catalogue",
    "Device",
    "Gpu",
    "LocalGpu",
    "Workspaces",
    "all_gpus",
    "builtin_catalogue",
    "cublas_workspace_bytes",
    "custom_gpu",
    "find_device",
    "find_gpu",
    "library_workspaces",
]
