"""The catalogue of GPUs and what PyTorch's libraries take from them; no device is asked."""

from __future__ import annotations

from actprof.hardware.catalogue import Catalogue, all_gpus, builtin_catalogue, custom_gpu, find_gpu
from actprof.hardware.gpu import Gpu
from actprof.hardware.workspaces import CublasLtWorkspace, cublas_workspace_bytes, cublaslt_workspace

__all__ = [
    "Catalogue",
    "CublasLtWorkspace",
    "Gpu",
    "all_gpus",
    "builtin_catalogue",
    "cublas_workspace_bytes",
    "cublaslt_workspace",
    "custom_gpu",
    "find_gpu",
]
