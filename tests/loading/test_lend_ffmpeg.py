"""PyAV's FFmpeg libraries within torchcodec's reach."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from actprof.loading import lend_ffmpeg as module
from actprof.loading.lend_ffmpeg import lend_ffmpeg, say_why_not


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel of PyAV with two libraries."""
    libraries = tmp_path / "site" / "av.libs"
    libraries.mkdir(parents=True)
    (libraries / "libavcodec-7ee0753d.so.61.19.101").write_text("", encoding="utf-8")
    (libraries / "libx264-b1bb65f5.so.165").write_text("", encoding="utf-8")
    found = SimpleNamespace(origin=str(tmp_path / "site" / "av" / "__init__.py"))
    monkeypatch.setattr(module, "find_spec", lambda _name: found)
    return libraries


def test_libraries_are_found_under_both_names(wheel, tmp_path):
    """That of the system and that of the wheel; others keep theirs. A second time changes nothing."""
    for _ in range(2):
        folder = lend_ffmpeg(tmp_path / "links")
    assert {"libavcodec-7ee0753d.so.61.19.101", "libavcodec.so.61", "libx264-b1bb65f5.so.165"} == {
        link.name for link in folder.iterdir()
    }
    assert wheel / "libavcodec-7ee0753d.so.61.19.101" == (folder / "libavcodec.so.61").readlink()


def test_without_a_wheel_nothing_is_lent(tmp_path, monkeypatch):
    """PyAV built from source uses the system's libraries."""
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    assert lend_ffmpeg(tmp_path / "links") is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "Could not load\nlibavutil.so.59: cannot open shared object file: No such file",
            "torchcodec finds no FFmpeg libraries (libavutil.so.59)",
        ),
        ("No module named 'torchcodec'", "torchcodec cannot be loaded (No module named 'torchcodec')"),
        ("", "torchcodec cannot be loaded (ImportError)"),
    ],
)
def test_the_reason_is_one_line(error, said):
    """Of the hundred that torchcodec prints."""
    assert said == say_why_not(ImportError(error))
