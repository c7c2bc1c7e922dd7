"""What a training step allocates: recorder, reverse pass, affine fit, cache.

`actprof.trace.model` and `actprof.trace.cache` need no torch; `actprof.trace.record` does.
"""
