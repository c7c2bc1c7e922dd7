"""Real runs on the GPUs and the CPU of this machine. The only room that touches CUDA and NVML."""
