"""Traces on disk: found again, and only by what they hold for."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from processes import crash
from test_storage import TRACE, same

from actprof.cell import Cell
from actprof.errors import DiedError, UsageError
from actprof.prediction.predict import predict_cell
from actprof.trace import cache
from actprof.trace.cache import cache_directory, cached_trace, save_trace, trace_for

CELL = Cell(batch_size=8, overrides={"dim_model": 64})  # no trace of such a width comes with actprof


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Give every test a cache of its own."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def recorded(monkeypatch):
    """Stand in for the recording of traces; return the cells that were recorded."""
    import actprof.trace.record as module

    cells = []

    def record_trace(cell):
        cells.append(cell)
        fixed = cell.batch_size if cell.batch_size == 1 else None
        return replace(TRACE, key=cell.trace_key(), fixed_batch_size=fixed)

    monkeypatch.setattr(module, "record_trace", record_trace)
    return cells


def test_a_trace_is_recorded_once(recorded):
    """The second question is answered from the disk."""
    first, cached_first = trace_for(CELL)
    second, cached_second = trace_for(CELL)
    assert [False, True] == [cached_first, cached_second]
    assert [CELL] == recorded
    same(first, second)


@pytest.fixture
def cold(monkeypatch):
    """Let this process look like one that has not imported the recorder."""
    monkeypatch.delitem(sys.modules, "actprof.trace.record", raising=False)


def record_elsewhere(cell):
    """Stand in for the recording in a worker: it tells where it ran."""
    return replace(TRACE, key={**cell.trace_key(), "pid": os.getpid()})


def test_a_process_without_torch_leaves_recording_to_a_worker(cold, monkeypatch):
    """The same one each time, as it has imported lerobot; the trace is cached here."""
    monkeypatch.setattr(cache, "_record", record_elsewhere)
    (first, cached), (second, _) = trace_for(CELL), trace_for(replace(CELL, cameras=1))
    assert not cached
    assert os.getpid() != first.key["pid"] == second.key["pid"]
    same(first, cached_trace(CELL))


def test_a_recording_that_kills_the_worker_leaves_the_verdict_unknown(cold, monkeypatch):
    """The caller lives, and the next recording has a new worker."""
    monkeypatch.setattr(cache, "_record", crash)
    with pytest.raises(DiedError):
        trace_for(CELL)
    result = predict_cell(CELL)
    assert ("unknown", "the process that worked on it was killed by SIGSEGV") == (
        result.verdict,
        result.reason,
    )
    monkeypatch.setattr(cache, "_record", record_elsewhere)
    assert not trace_for(CELL)[1]


def test_errors_of_the_recording_come_through_the_worker(cold, monkeypatch):
    """What lerobot refuses is a usage error here as there."""
    monkeypatch.setattr(cache, "_record", refuse)
    with pytest.raises(UsageError, match="lerobot refuses this policy"):
        trace_for(CELL)


def refuse(_cell):
    raise UsageError("lerobot refuses this policy")


def test_one_trace_serves_every_batch_size_gpu_and_allocator(recorded):
    """What a trace does not depend on does not matter."""
    trace_for(CELL)
    others = [
        replace(CELL, batch_size=64),
        replace(CELL, gpu="T4", alloc_conf="expandable_segments:True"),
        replace(CELL, capacity_bytes=2**30, used_by_others_bytes=5),
    ]
    assert [True] * 3 == [trace_for(cell)[1] for cell in others]


@pytest.mark.parametrize(
    "change",
    [
        {"overrides": {"chunk_size": 50}},
        {"cameras": 1},
        {"resolution": "480x640"},
        {"precision": "bf16"},
        {"optimizer": "sgd"},
        {"state_dim": 7},
        {"action_dim": 7},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_trace_depends_on_makes_another(recorded, change):
    """Each of these changes what a step allocates."""
    trace_for(CELL)
    assert cached_trace(replace(CELL, **change)) is None


def test_batch_size_one_has_a_trace_of_its_own(recorded):
    """With a dimension of one, `contiguous` copies nothing."""
    trace_for(CELL)
    one = replace(CELL, batch_size=1)
    assert cached_trace(one) is None
    trace, cached = trace_for(one)
    assert (1, False) == (trace.fixed_batch_size, cached)
    assert trace_for(one)[1]
    assert trace_for(CELL)[0].fixed_batch_size is None


def test_a_trace_of_one_batch_size_serves_no_other():
    """Where the fit failed, each batch size has its own file."""
    save_trace(replace(TRACE, fixed_batch_size=8), CELL)
    assert cached_trace(CELL) is not None
    assert cached_trace(replace(CELL, batch_size=9)) is None


@pytest.mark.parametrize("library", ["actprof", "lerobot", "torch"])
def test_another_version_of_a_library_makes_another_trace(recorded, monkeypatch, library):
    """What decides a prediction is part of the key."""
    trace_for(CELL)
    versions = {**cache.versions_for(CELL), library: "99.0"}
    monkeypatch.setattr(cache, "versions_for", lambda _cell: versions)
    assert cached_trace(CELL) is None


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=["empty", "text", "half"])
def test_a_damaged_file_is_recorded_again_with_a_warning(recorded, folder, caplog, damage):
    """The user hears of it and gets an answer all the same."""
    trace_for(CELL)
    (path,) = (folder / "traces").iterdir()
    path.write_bytes(path.read_bytes()[:500] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        _trace, cached = trace_for(CELL)
    assert not cached
    assert "damaged" in caplog.text
    assert str(path) in caplog.text
    assert trace_for(CELL)[1]


def test_a_cache_that_cannot_be_written_is_only_a_warning(recorded, tmp_path, monkeypatch, caplog):
    """The trace is there; only the next question takes as long again."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        trace, cached = trace_for(CELL)
    assert not cached
    assert trace.key == CELL.trace_key()
    assert "could not be cached" in caplog.text


def test_a_write_that_fails_leaves_nothing_behind(monkeypatch, folder):
    """Neither half a file nor a temporary one."""

    def fail(*_args):
        raise OSError("the disk is full")

    monkeypatch.setattr(cache.Path, "replace", fail)
    save_trace(TRACE, CELL)
    assert [] == list((folder / "traces").iterdir())


def test_the_folder_is_the_users_unless_one_is_named(monkeypatch):
    """Without the variable, the platform's cache folder."""
    monkeypatch.delenv("ACTPROF_CACHE_DIR")
    assert cache_directory().parts[-2:] == ("actprof", "traces")


def test_a_cached_trace_needs_no_torch():
    """That is what the cache is for."""
    save_trace(TRACE, CELL)
    program = (
        "import sys; sys.modules.update(torch=None, lerobot=None)\n"
        "from actprof.cell import Cell\n"
        "from actprof.trace.cache import trace_for\n"
        "assert trace_for(Cell(batch_size=8))[1]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
