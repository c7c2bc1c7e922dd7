"""What cuBLAS and cuBLASLt take from PyTorch's allocator, by architecture and PyTorch version.

PyTorch gives each (cuBLAS handle, stream) one workspace, and each thread that multiplies has its own handle:
one after the first forward matmul, a second after the first backward matmul. They are ordinary blocks of the
caching allocator, so they count as allocated and reserved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from actprof.errors import UsageError
from actprof.hardware.gpu import Gpu
from actprof.units import KIB, MIB

TorchVersion: TypeAlias = tuple[int, int]

# CUDABlas.cpp / CublasHandlePool.cpp, `parseChosenWorkspaceSize`: two buffers of 4096 KiB and eight of
# 16 KiB by default, eight of 4096 KiB on Hopper. Both sizes seen in recorded traces (torch 2.1 to 2.11).
DEFAULT_CUBLAS_BYTES = 2 * 4096 * KIB + 8 * 16 * KIB  # 8,519,680
LARGE_CUBLAS_BYTES = 8 * 4096 * KIB  # 33,554,432

# From 2.12 the same function also takes the large size on Blackwell (10.x in data centres, 12.x GeForce).
LARGE_CAPABILITIES = {9}
LARGE_CAPABILITIES_FROM_2_12 = {9, 10, 12}

# CublasHandlePool.cpp, `_getWorkspaceSize` of cuBLASLt: 1024 KiB unless the environment says otherwise.
DEFAULT_CUBLASLT_BYTES = MIB

_CONFIG = re.compile(r":([0-9]+):([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspaces:
    """What the matrix libraries take, in bytes.

    Attributes:
        cublas_bytes: of one cuBLAS handle.
        cublaslt_bytes: what a cuBLASLt call (`addmm` with bias) takes besides its result; 0 when it shares
            the workspace of cuBLAS.
        cublaslt_lifetime: `handle` when it is kept per (handle, stream), `call` when each call allocates and
            frees it, `shared` for none of its own.
    """

    cublas_bytes: int = 0
    cublaslt_bytes: int = 0
    cublaslt_lifetime: Literal["call", "handle", "shared"] = "shared"


def library_workspaces(gpu: Gpu, torch_version: TorchVersion = (2, 11)) -> Workspaces:
    """Return what cuBLAS and cuBLASLt take on `gpu` with PyTorch (major, minor).

    That of cuBLASLt is a temporary up to 2.8, kept in 2.9 to 2.11, shared from 2.12: established on recorded
    traces of each version, and read in the release builds from 2.12 on.
    """
    cublas = cublas_workspace_bytes(gpu, torch_version)
    if torch_version >= (2, 12):
        return Workspaces(cublas_bytes=cublas)
    return Workspaces(
        cublas_bytes=cublas,
        cublaslt_bytes=DEFAULT_CUBLASLT_BYTES,
        cublaslt_lifetime="call" if torch_version <= (2, 8) else "handle",
    )


def cublas_workspace_bytes(gpu: Gpu, torch_version: TorchVersion = (2, 11)) -> int:
    """Return the bytes of one cuBLAS workspace, of which there is one per (handle, stream).

    It depends on the compute capability, where the card was not given a workspace of its own.
    """
    if gpu.cublas_workspace_bytes is not None:
        return gpu.cublas_workspace_bytes
    large = LARGE_CAPABILITIES_FROM_2_12 if torch_version >= (2, 12) else LARGE_CAPABILITIES
    return LARGE_CUBLAS_BYTES if gpu.compute_capability[0] in large else DEFAULT_CUBLAS_BYTES


def parse_workspace_config(config: str) -> int:
    """Return the bytes of a `CUBLAS_WORKSPACE_CONFIG`: pairs `:SIZE:COUNT`, SIZE in KiB, summed.

    `:4096:8` is 32 MiB, `:16:8` 128 KiB, `:4096:2:16:8` the default.

    Raises:
        UsageError: there is no such pair; PyTorch would warn and fall back to its default.
    """
    pairs = _CONFIG.findall(config)
    if not pairs:
        raise UsageError(
            f"CUBLAS_WORKSPACE_CONFIG {config!r} has no size; write pairs :SIZE_IN_KIB:COUNT, like :4096:8"
        )
    return sum(int(size) * KIB * int(count) for size, count in pairs)
