"""The bridge between a trace and one GPU: the bytes that its kernels take inside."""
