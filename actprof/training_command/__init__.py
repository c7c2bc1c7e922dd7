"""A training command as people write it: out of shells, launchers and files, to lerobot-train's own words.

Words in, records out; nothing is run, and lerobot is not asked.
"""
