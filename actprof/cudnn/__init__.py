"""cuDNN's plans for a described GPU, from the installed library: no GPU, no driver, no torch."""

from actprof.cudnn.ask import CUDA_CORES, TENSOR_CORES, WINOGRAD, Plan
from actprof.cudnn.library import CudnnError
from actprof.cudnn.plans import STAND_IN, answers, plans_for
from actprof.cudnn.problem import Architecture, Convolution

__all__ = [
    "CUDA_CORES",
    "STAND_IN",
    "TENSOR_CORES",
    "WINOGRAD",
    "Architecture",
    "Convolution",
    "CudnnError",
    "Plan",
    "answers",
    "plans_for",
]
