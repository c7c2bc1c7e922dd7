"""From the command that somebody is about to run to what it means: launcher, config, dataset, GPU, traps.

Everything here is plain records and files; lerobot itself is asked only through `actprof.policies`.
"""
