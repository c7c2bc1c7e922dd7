"""The host's memory: the formula, what a batch is, what processes hold, and what a machine has left."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from pathlib import Path

import pytest
from loader_made import make_row

from actprof.loading.host_memory import (
    DECODERS_VARIABLE,
    HostMemory,
    Loading,
    batch_bytes,
    cached_decoders,
    host_memory,
    sample_columns,
)
from actprof.loading.machine_memory import machine_memory
from actprof.loading.own_memory import at_rest, shared_bytes
from actprof.loading.rows import LoaderRow
from actprof.loading.sentences import memory_texts
from actprof.policies import lerobot_versions
from actprof.records import from_plain, to_plain

PAGE = mmap.PAGESIZE
LOADING = Loading(batch_size=8, columns=(PAGE, 1), workers=2, prefetch_factor=4, start_method="spawn")


def test_each_column_of_a_batch_takes_whole_pages():
    """A byte a sample takes as much as a page for all of them."""
    assert 8 * PAGE + PAGE == batch_bytes((PAGE, 1), 8)
    assert 0 == batch_bytes((), 8)


@pytest.mark.parametrize(("workers", "ahead", "batches"), [(1, 4, 5), (2, 4, 9), (2, 2, 5), (0, 4, 0)])
def test_each_worker_is_so_many_batches_ahead_of_the_one_in_hand(workers, ahead, batches):
    """Without workers nothing is in /dev/shm."""
    need = host_memory(replace(LOADING, workers=workers, prefetch_factor=ahead), ())
    assert batches * 9 * PAGE == need.shm_bytes


def test_statistics_are_shared_with_workers_that_start_anew():
    """A page each; a forked worker has them already."""
    with_them = replace(LOADING, statistics=4)
    assert 4 * PAGE == host_memory(with_them, ()).shm_bytes - host_memory(LOADING, ()).shm_bytes
    forked = replace(with_them, start_method="fork")
    assert host_memory(LOADING, ()).shm_bytes == host_memory(forked, ()).shm_bytes


def test_everything_is_held_by_each_process():
    """Two of them take twice as much of all."""
    one, two = (host_memory(replace(LOADING, processes=count), ()) for count in (1, 2))
    assert 2 * one.total_bytes == two.total_bytes
    assert 2 * one.shm_bytes == two.all_shm_bytes


def test_the_parts_make_the_whole():
    """Main process, workers with their decoders and the batch in the making, and /dev/shm."""
    need = host_memory(replace(LOADING, decoders=3), ())
    assert need.main_bytes + need.workers_bytes + need.shm_bytes == need.total_bytes
    assert 2 * (need.worker_bytes + need.decoders_bytes + need.batch_bytes) == need.workers_bytes


def test_a_forked_worker_shares_what_one_that_starts_anew_imports():
    """Libraries count for the latter, and for the main process."""
    libraries = ("transformers", "diffusers")
    anew, plain = host_memory(LOADING, libraries), host_memory(LOADING, ())
    forked = host_memory(replace(LOADING, start_method="fork"), libraries)
    assert anew.worker_bytes > plain.worker_bytes > 2 * forked.worker_bytes
    assert anew.main_bytes == forked.main_bytes > plain.main_bytes


def test_held_out_episodes_have_a_loader_of_their_own():
    """With as many workers, which stay."""
    need = host_memory(replace(LOADING, loaders=2), ())
    assert (4, 2 * 9 * 9 * PAGE) == (need.workers, need.shm_bytes)


def test_it_saves_to_json_and_back():
    """As a part of a row."""
    need = host_memory(LOADING, ())
    assert need == from_plain(HostMemory, to_plain(need))
    row = make_row(workers=2, predicted_memory=need)
    assert row == from_plain(LoaderRow, to_plain(row))


def test_a_batch_is_as_large_as_the_one_of_a_policy():
    """Frames, state, actions, masks and indices, byte for byte, of this moment or with a history."""
    import torch

    from actprof.cell import Cell
    from actprof.policies.dataset import batches, dataset_meta
    from actprof.policies.workload import policy_config

    for policy, more in (("act", {"chunk_size": 3, "n_action_steps": 3}), ("tdmpc", {"horizon": 4})):
        cell = Cell(policy=policy, cameras=1, resolution="32x16", batch_size=2, overrides=more)
        config = policy_config(cell)
        rewards = config.reward_delta_indices is not None
        batch = next(batches(cell, config, torch.device("cpu")))
        tensors = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
        windows = {
            key.removesuffix("_is_pad"): value.shape[1] for key, value in tensors.items() if "_is_pad" in key
        }
        columns = sample_columns(dataset_meta(cell, rewards=rewards).features, windows)
        assert sorted(value.nbytes // 2 for value in tensors.values()) == sorted(columns)


def test_stored_images_and_depth_are_fractions_and_texts_no_tensors():
    """Only RGB video comes as bytes."""
    camera = {"shape": (4, 6, 3)}
    assert (72,) == sample_columns({"a": {**camera, "dtype": "video"}}, {})
    assert (4 * 72,) == sample_columns({"a": {**camera, "dtype": "image"}}, {})
    depth = {"dtype": "video", "shape": (4, 6, 1), "info": {"is_depth_map": True}}
    assert (4 * 24,) == sample_columns({"a": depth}, {})
    assert () == sample_columns({"task": {"dtype": "string", "shape": (1,)}}, {})
    assert (3 * 5 * 2,) == sample_columns({"a": {**camera, "dtype": "video"}}, {}, {"a": (5, 2)})


def test_before_0_6_0_frames_are_fractions_and_decoders_stay(monkeypatch):
    """All 8,390 of them, as in lerobot's pull request 3614."""
    camera = {"a": {"dtype": "video", "shape": (4, 6, 3)}}
    monkeypatch.setattr(lerobot_versions, "package_version", lambda _name: "0.5.1")
    assert ((4 * 72,), 8390) == (sample_columns(camera, {}), cached_decoders(8390, {DECODERS_VARIABLE: "7"}))
    monkeypatch.setattr(lerobot_versions, "package_version", lambda _name: "0.6.0")
    assert ((72,), 100, 7) == (
        sample_columns(camera, {}), cached_decoders(8390, {}), cached_decoders(8390, {DECODERS_VARIABLE: "7"})
    )  # fmt: skip
    assert 8390 == cached_decoders(8390, {DECODERS_VARIABLE: "none"})


def test_a_row_shows_what_was_measured_beside_the_formula():
    """In MiB; a worker is the mean of all."""
    from loader_made import FOUND, SAID

    shown = memory_texts(make_row(workers=2, memory=FOUND, predicted_memory=SAID))
    assert ("528 / 529", "505 / 502", "127 / 127") == shown
    assert {"\u2013"} == set(memory_texts(make_row()))


def test_shared_memory_is_told_once_it_stays_the_same():
    """Not while it grows, and not where it goes on for too long."""
    growing = iter([1, 2, 3, 3, 3, 3])
    assert 3 == at_rest(lambda: next(growing), quiet=0.2, seconds=2, sleep=lambda _: None)
    numbers = iter(range(99))
    assert at_rest(lambda: next(numbers), quiet=0.2, seconds=2, sleep=lambda _: None) is None


def test_files_of_torch_are_counted_once(tmp_path):
    """Whichever process has them open, and none of others."""
    if not Path("/proc/self/fd").is_dir():
        assert shared_bytes([os.getpid()]) is None
        return
    import torch

    tensor = torch.ones(3 * PAGE, dtype=torch.uint8)
    before = shared_bytes([os.getpid()])
    tensor.share_memory_()
    assert 3 * PAGE == shared_bytes([os.getpid(), os.getpid()]) - before
    assert shared_bytes([os.getpid()], tmp_path / "none") is None


def machine(folder, *, available=1000, groups="", files=None):
    """Return a folder with a /proc and a /sys of these contents."""
    texts = {"proc/meminfo": f"MemFree: 1 kB\nMemAvailable: {available} kB\n", "proc/self/cgroup": groups}
    for name, text in {**texts, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    (folder / "dev/shm").mkdir(parents=True)
    return folder


def test_what_is_free_is_the_kernels_figure(tmp_path):
    """Where no control group leaves less."""
    found = machine_memory(machine(tmp_path))
    assert (1000 << 10, False) == (found.free_bytes, found.is_limited)
    assert found.shm_bytes > 0


def test_a_control_group_that_leaves_less_counts(tmp_path):
    """Its own limit or that of one above; what the kernel can drop is not used."""
    group = {
        "sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "5000",
        "sys/fs/cgroup/a/memory.current": "3000",
        "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 500\n",
    }  # fmt: skip
    found = machine_memory(machine(tmp_path, groups="0::/a/b\n", files=group))
    assert (2500, True) == (found.free_bytes, found.is_limited)


def test_control_groups_of_version_1_count_too(tmp_path):
    """And a number near 2^63 is no limit."""
    base = "sys/fs/cgroup/memory"
    group = {
        f"{base}/memory.limit_in_bytes": str(2**63 - 4096), f"{base}/memory.usage_in_bytes": "1",
        f"{base}/job/memory.limit_in_bytes": "900", f"{base}/job/memory.usage_in_bytes": "800",
        f"{base}/job/memory.stat": "total_inactive_file 50",
    }  # fmt: skip
    found = machine_memory(machine(tmp_path, groups="4:memory:/job\n2:cpu:/\n", files=group))
    assert (150, True) == (found.free_bytes, found.is_limited)


def test_where_nothing_says_what_is_free_it_is_not_known(tmp_path):
    """As on systems without /proc."""
    found = machine_memory(tmp_path)
    assert (None, None) == (found.free_bytes, found.shm_bytes)
