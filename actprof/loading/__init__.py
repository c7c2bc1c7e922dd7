"""Data loading in figures: what was measured, what a training step waits for it, and what would keep it fed.

Plain records and pure functions; the measuring itself is `actprof.loading.measure`.
"""
