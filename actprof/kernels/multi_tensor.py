"""How `multi_tensor_apply` shares tensors out among blocks (ATen/native/cuda/MultiTensorApply.cuh)."""

from __future__ import annotations

CHUNK = 65_536  # elements that one block works on
MOST_BLOCKS = 320  # of one launch
