"""The recordings in tests/data, as files and as plain dicts."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture
def native_path():
    """A native run that survives two retries."""
    return DATA / "native-retry.pickle"


@pytest.fixture
def expandable_path():
    """A run with expandable segments that ends out of memory."""
    return DATA / "expandable-oom.pickle"


@pytest.fixture
def snapshot(native_path):
    """The native run as a dict, to be changed and written again."""
    return pickle.loads(native_path.read_bytes())  # noqa: S301 - a file of this repository


@pytest.fixture
def write(tmp_path):
    """Return a function that pickles a value into a file."""

    def write_value(value, protocol=4):
        path = tmp_path / "snapshot.pickle"
        path.write_bytes(pickle.dumps(value, protocol=protocol))
        return path

    return write_value
