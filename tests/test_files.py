"""Files are written whole or not at all."""

from __future__ import annotations

import pytest

from actprof.errors import StoreError
from actprof.files import write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    """The folder holds the new file alone; a missing folder is made."""
    path = tmp_path / "new" / "file.txt"
    for text in (b"old", b"new"):
        write_whole(path, text)

    assert b"new" == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


def test_what_cannot_be_written_is_a_store_error(tmp_path):
    """A folder in the way is named, and nothing is left beside it."""
    (tmp_path / "file.txt").mkdir()

    with pytest.raises(StoreError, match=r"file\.txt cannot be written"):
        write_whole(tmp_path / "file.txt", b"text")
    assert [tmp_path / "file.txt"] == list(tmp_path.iterdir())


def test_others_may_read_what_the_umask_allows(tmp_path):
    """A written file has the permissions of any other new file."""
    write_whole(tmp_path / "ours", b"")
    (tmp_path / "theirs").write_bytes(b"")

    assert (tmp_path / "theirs").stat().st_mode == (tmp_path / "ours").stat().st_mode
