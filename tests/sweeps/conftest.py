"""One small scenario, its store, and a thread for its tasks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from actprof.processes.pool import Workers
from actprof.scenario.loading import load_scenario
from actprof.sweeps.store import ResultsStore

SCENARIO = """
# Does it fit?
name: small
set: {chunk_size: 7}
gpu: RTX 3090
sweep:
  resolution: [640x480, 320x240]
  batch_size: [8, 16]
"""


@pytest.fixture
def scenario(tmp_path, seed):
    """Four cells whose two traces are cached."""
    for resolution in ("640x480", "320x240"):
        seed(resolution=resolution)
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return load_scenario(path)


@pytest.fixture
def store(tmp_path):
    with ResultsStore(tmp_path / "out") as store:
        yield store


@pytest.fixture
def here():
    """A thread of this process, so that tests can stand in for tasks."""
    with ThreadPoolExecutor(1) as executor:
        yield Workers(executor=executor)
