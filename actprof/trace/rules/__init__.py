"""What ATen does on CUDA and a tensor without data does not show, op by op: kernels, temporaries, work.

A rule names the file of ATen that it mirrors (torch 2.6 to 2.11). Here is what a new op, or a new release of
torch, may ask for; what records and walks a step, whatever its ops, is in `actprof.trace`.
"""
