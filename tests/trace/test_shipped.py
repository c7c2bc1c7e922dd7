"""Traces that come with actprof, held to fresh ones, and found by what changes a size and nothing else."""

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.policies.lerobot_versions import RELEASED
from actprof.trace import cache, shipped
from actprof.trace.derived import ANCHORS, LONGEST, Lengths, derive
from actprof.trace.shipped import FOLDER, shelf_of, shipped_trace
from actprof.trace.storage import trace_to_bytes
from actprof.versions import SHIPPED_TORCH, UNKNOWN

ACT = Cell(cameras=2, resolution="224x224", overrides={"chunk_size": 50, "n_action_steps": 50})


def bytes_of(trace):
    """Everything of a trace but what was asked for, how long it took and which packages made it."""
    return trace_to_bytes(replace(trace, key={}, trace_seconds=0.0, versions={}))


def without(monkeypatch, *packages):
    """Have so many packages not installed."""
    real = shipped.package_version
    for module in ("actprof.trace.shipped", "actprof.policies.libraries"):
        monkeypatch.setattr(
            f"{module}.package_version", lambda name: UNKNOWN if name in packages else real(name)
        )


@pytest.mark.parametrize(
    "cell",
    [
        replace(ACT, state_dim=7, action_dim=7),
        replace(ACT, resolution="480x360", state_dim=14, action_dim=14),
        replace(ACT, cameras=1, overrides={}, state_dim=2, action_dim=LONGEST),
        replace(ACT, batch_size=1, state_dim=6, action_dim=7),
        Cell(policy="diffusion", cameras=1, resolution="320x240", state_dim=6, action_dim=6),
        Cell(policy="vqbet", cameras=1, resolution="256x256", state_dim=7, action_dim=7),
    ],
    ids=["ACT 7", "ACT 14", "ACT, longest", "a single sample", "diffusion", "vqbet"],
)
def test_a_shipped_trace_is_a_fresh_one_byte_for_byte(cell):
    """Also one that is derived: for a state and an action of other lengths than those that were traced."""
    from actprof.trace.record import record_trace

    assert bytes_of(record_trace(cell)) == bytes_of(shipped_trace(cell))


def test_all_files_together_are_small():
    """The repository carries them: 8 MB at most."""
    assert 8_000_000 >= sum(file.stat().st_size for file in FOLDER.glob("*.tar.xz"))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.tar.xz")), ids=lambda path: path.name)
def test_every_file_is_of_the_versions_that_are_assumed_without_them(path):
    """So that allocator and flags are those of the trace where neither torch nor lerobot is installed."""
    policy, _, cameras = path.name.removesuffix(".tar.xz").rpartition("-")
    versions = shelf_of(Cell(policy=policy, cameras=int(cameras))).versions
    assert (RELEASED, SHIPPED_TORCH) == (versions["lerobot"], versions["torch"])


@pytest.mark.parametrize(
    "overrides",
    [
        {"n_action_steps": 50},
        {"n_action_steps": 1},
        {"n_action_steps": 50, "optimizer_lr": 1e-4, "kl_weight": 10.0},
    ],
)
def test_fields_that_change_no_size_do_not_matter(overrides):
    """How much of a chunk is carried out, learning rates, and lerobot's own defaults."""
    assert shipped_trace(ACT) is not None
    assert bytes_of(shipped_trace(ACT)) == bytes_of(
        shipped_trace(replace(ACT, overrides={"chunk_size": 50} | overrides))
    )


@pytest.mark.parametrize(
    "change",
    [
        {"overrides": {"chunk_size": 50}},  # lerobot refuses more steps than the chunk has
        {"overrides": {"chunk_size": 50, "n_action_steps": 50, "dim_model": 256}},
        {"resolution": "640x360"},
        {"precision": "bf16"},
        {"optimizer": "sgd"},
        {"state_dim": LONGEST + 1},
        {"state_dim": 0},
        {"action_dim": 1},
    ],
)
def test_what_is_not_there_is_not_made_up(change):
    """Another width, precision or optimizer has no trace, and lengths outside of what was checked neither."""
    assert shipped_trace(replace(ACT, **change)) is None


def test_another_installed_version_traces_for_itself(monkeypatch):
    """A shipped trace is taken for what would be traced here, and only then."""
    monkeypatch.setattr(shipped, "package_version", {"lerobot": RELEASED, "torch": "2.10.0"}.__getitem__)
    assert shipped_trace(ACT) is None


def test_without_lerobot_every_shipped_trace_serves(monkeypatch):
    """Whatever torch there is."""
    without(monkeypatch, "lerobot")
    assert shipped_trace(ACT).shipped


def test_a_missing_trace_is_told_with_the_remedy_and_what_there_is(monkeypatch, tmp_path):
    """In one line, without a traceback."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    without(monkeypatch, "lerobot", "torch")
    with pytest.raises(cache.TraceError) as refused:
        cache.trace_for(replace(ACT, resolution="640x360"))
    said = str(refused.value)
    assert "lerobot is not installed here (pip install 'actprof[lerobot]')" in said
    assert "ACT with 2 cameras at 224x224, 640x480, 480x360, 320x240, 256x256" in said


def test_traces_that_differ_in_more_than_sizes_are_not_blended():
    """Nothing is derived of traces of two policies, nor of sizes that do not grow in whole bytes."""
    first, second = (shipped_trace(replace(ACT, cameras=cameras)) for cameras in (1, 2))
    assert derive(first, (first, second, first), Lengths(6, 6)) is None
    grown = replace(second.tensors, constant=second.tensors.constant + 1)
    assert derive(second, (second, replace(second, tensors=grown), second), Lengths(6, 6)) is None


def test_the_anchors_tell_state_and_action_apart():
    """Equal lengths would make equal sizes, which two traces then take for one another."""
    assert all(one.state != one.action for one in ANCHORS)
