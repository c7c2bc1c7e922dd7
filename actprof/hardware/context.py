"""What a process takes of a card beside PyTorch's segments: the CUDA context, kernels, cuBLAS' own memory.

Measured piece by piece on one H100 (driver 580, CUDA 13.0, torch 2.11; `reports/accuracy/h100/`): 518 MiB
when the context is there, 92 MiB with the first of PyTorch's kernels (lazy loading takes the rest of the file
with it), 2 with cuBLAS, some 24 more with cuDNN and what a training run loads, and 64 for each of the two
threads that multiply. The first is taken to grow with the multiprocessors, 3.92 MiB each; so the estimate for
the 36 of an RTX 5060 Ti is 307 MiB where its out-of-memory message gives 287.
"""

from __future__ import annotations

from math import ceil

from actprof.units import MIB

_MIB_PER_MULTIPROCESSOR = 518 / 132
_KERNELS_MIB = 92 + 2 + 24
_HANDLES = 2  # one for the forward pass, one for the thread of the backward pass
# cuBLAS' documentation, cublasSetWorkspace: its own default workspace by architecture; twice that is held.
_CUBLAS_MIB = {9: 32, 10: 32, 11: 32, 12: 12}
_OLDER_CUBLAS_MIB = 4
_LEAST_MIB = 250  # nobody reports less


def estimate_context_bytes(compute_capability: tuple[int, int], multiprocessors: int) -> int:
    """Return what a training process is likely to hold beside its segments, in whole MiB."""
    handle = 2 * _CUBLAS_MIB.get(compute_capability[0], _OLDER_CUBLAS_MIB)
    total = multiprocessors * _MIB_PER_MULTIPROCESSOR + _KERNELS_MIB + _HANDLES * handle
    return max(ceil(total), _LEAST_MIB) * MIB
