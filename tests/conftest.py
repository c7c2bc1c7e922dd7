"""Fixtures for all tests; nothing here imports torch."""

import os

import pytest

from actprof.cell import Cell

pytest_plugins = ["handmade"]

SMALL_ACT = {
    "dim_model": 64,
    "n_heads": 4,
    "dim_feedforward": 96,
    "n_encoder_layers": 2,
    "n_vae_encoder_layers": 1,
    "chunk_size": 10,
    "n_action_steps": 10,
}


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    """The folder of traces and plans that all processes of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")


@pytest.fixture(scope="session")
def small_cell():
    """A cell whose ACT is small enough to run anywhere in a second."""
    return Cell(overrides=SMALL_ACT, resolution="64x64", batch_size=2, gpu=None)


@pytest.fixture(autouse=True)
def _own_cache(session_cache, monkeypatch):
    """Keep the user's cache of traces out of the tests, and the tests out of it."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", session_cache)


@pytest.fixture(autouse=True)
def _own_configuration(session_cache, monkeypatch):
    """Keep the user's own cards out of the tests."""
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", f"{session_cache}-without-configuration")
