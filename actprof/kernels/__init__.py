"""What ATen's CUDA kernels take from the allocator while they run, worked out from a problem and a GPU.

No torch, no trace: plain numbers in, bytes out.
"""
