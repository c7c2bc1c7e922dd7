"""cuDNN's plans for a described GPU, from the installed library: no GPU, no driver, no torch."""

from actprof.cudnn.ask import Plan
from actprof.cudnn.library import CudnnError
from actprof.cudnn.plans import answers, plans_for
from actprof.cudnn.problem import Architecture, Convolution

__all__ = ["Architecture", "Convolution", "CudnnError", "Plan", "answers", "plans_for"]
