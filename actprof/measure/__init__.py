"""What is really there: runs on the GPUs and the CPU of this machine; `actprof.measure(…)` makes one.

The only package that may touch CUDA and NVML.
"""

from __future__ import annotations

from actprof._callable import make_callable

make_callable(__name__)
