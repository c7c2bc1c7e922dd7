"""Runs on real devices. So far: the CPU run that grounds a sweep's predictions."""
