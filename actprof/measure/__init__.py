"""What is really there: the CPU run that grounds a sweep, and the GPUs of this machine.

The only package that may touch CUDA and NVML.
"""
