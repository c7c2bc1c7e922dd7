"""Dropping files from the page cache."""

from __future__ import annotations

import os

from actprof.loading import dataset
from actprof.loading.dataset import drop_cached


def test_the_share_that_is_kept_is_a_share(tmp_path):
    """Between nothing and everything, where the system lets us look; missing and empty files do no harm."""
    (tmp_path / "data").write_bytes(os.urandom(1 << 20))
    (tmp_path / "empty").write_bytes(b"")
    kept = drop_cached([tmp_path / "data", tmp_path / "empty", tmp_path / "missing"])
    assert kept is None or 0 <= kept <= 1


def test_no_files_have_no_share(tmp_path):
    """Nothing is divided by zero."""
    assert drop_cached([tmp_path / "missing"]) is None


def test_pages_that_the_kernel_keeps_are_reported(tmp_path, monkeypatch):
    """A file system that ignores the request is told from one that follows it."""
    (tmp_path / "data").write_bytes(b"x" * 8192)
    monkeypatch.setattr(dataset, "_cached_pages", lambda _descriptor: (1, 2))
    assert 0.5 == drop_cached([tmp_path / "data"])
