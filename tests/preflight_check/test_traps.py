"""Each trap speaks when it should, and only then."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.hardware.jobs import flavours, job_machine
from actprof.policies.facts import Parameter, PolicyFacts
from actprof.preflight_check.policy_inputs import Inputs, run_inputs
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.run_preflight import why_unsupported
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.traps import checkpoint_bytes, checkpoint_count, find_traps
from actprof.results import GpuUse, Result
from actprof.training_command.command_line import CommandLine, Given
from actprof.training_command.launcher import AllocatorSettings, Launch

RUN = TrainingRun(policy_type="act", repo_id="me/x", batch_size=8, steps=100, save_freq=20)
INPUTS = Inputs(resolutions=("640x480", "640x480"), raw="640x480", state_dim=6, action_dim=6)
GPU = GpuUse(name="it", capacity_bytes=1, context_bytes=0)
ANSWER = Preflight(
    reason="", command=CommandLine(text="", arguments=()), run=RUN, launch=Launch(), inputs=INPUTS,
    result=Result(source="predicted", cell=Cell(), gpu=GPU, parameters=1000),
)  # fmt: skip
BOTH = "expandable_segments:True,max_split_size_mb:128"


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """Return a function that says how much of the disk is free: 60,000 bytes if not called."""

    def set_free(size):
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=size))

    set_free(60_000)
    return set_free


def names(answer):
    return [trap.name for trap in find_traps(answer)]


def test_an_ordinary_run_has_no_traps():
    """Five checkpoints of 12,000 bytes fill 60,000 bytes exactly."""
    assert [] == names(ANSWER)


def test_checkpoints_that_fill_the_disk_are_found(disk):
    """A byte is missing."""
    disk(59_999)
    assert ["checkpoints_fill_disk"] == names(ANSWER)


@pytest.mark.parametrize(
    ("more", "size"), [({}, 8 + 2 + 2 * 2), ({"optimizer": "adamw_8bit"}, 12), ({"peft": {"r": 1}}, 2 + 4)]
)
def test_a_checkpoint_has_states_of_what_is_trained_only(more, size):
    """Two frozen fp32 numbers and one trained in bf16; of an adapter the base is not saved."""
    rows = [("frozen", 2, 8, False), ("trained", 1, 2, True)]
    facts = PolicyFacts(
        parameters=tuple(
            Parameter(path=path, component="", count=count, bytes=size, trainable=trainable)
            for path, count, size, trainable in rows
        ),
        encoder_tokens=0, output_shape=(), components=(), other_component="",
    )  # fmt: skip
    assert size == checkpoint_bytes(replace(ANSWER, run=replace(RUN, **more), facts=facts))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"run": replace(RUN, use_amp=True)}, "use_amp"),
        ({"inputs": replace(INPUTS, resolutions=("1920x1080",))}, "large_camera"),
        ({"run": replace(RUN, image_transforms={"tfs": {}})}, "image_transforms"),
        ({"inputs": replace(INPUTS, resized=True, resolutions=("224x224",))}, "resize_in_training_only"),
        ({"run": replace(RUN, optimizer_ignored="sgd")}, "optimizer_ignored"),
        ({"run": replace(RUN, rate_ignored=1e-4)}, "rate_ignored"),
        ({"run": replace(RUN, refused=("it would push",))}, "refused"),
        ({"settings": AllocatorSettings(BOTH, "A")}, "expandable_and_max_split"),
        ({"settings": AllocatorSettings("", "A", "B")}, "two_allocator_variables"),
        (
            {"run": replace(RUN, job_target="t4-small"), "settings": AllocatorSettings("", "A")},
            "job_environment",
        ),
    ],
)
def test_each_trap_is_found(change, name):
    """By what the command says, and by nothing else."""
    assert [name] == names(replace(ANSWER, **change))


@pytest.mark.parametrize(
    ("steps", "save_freq", "count"), [(100, 20, 5), (101, 20, 6), (10, 20, 1), (100, 0, 1), (100, -1, 1)]
)
def test_checkpoints_are_counted_as_lerobot_saves_them(steps, save_freq, count):
    """Every `save_freq` steps, and after the last."""
    from lerobot.common.train_utils import should_save_checkpoint

    saved = sum(should_save_checkpoint(step, save_freq, steps) for step in range(1, steps + 1))
    assert count == saved == checkpoint_count(replace(RUN, steps=steps, save_freq=save_freq))


@pytest.mark.parametrize(
    ("run", "launch", "conf", "said"),
    [
        ({"policy_type": "gaussian_actor"}, Launch(), "", "gaussian_actor"),
        ({"device": "cpu"}, Launch(), "", "trains on the CPU"),
        ({"device": "mps"}, Launch(), "", "'mps'"),
        ({"others": ("sample_weighting",)}, Launch(), "", "--sample_weighting"),
        ({"optimizer": "multi_adam"}, Launch(), "", "multi_adam"),
        ({"optimizer": "sgd", "optimizer_unusual": ("momentum",)}, Launch(), "", "--optimizer.momentum"),
        ({"normalization": {"VISUAL": "IDENTITY"}}, Launch(), "", "normalization of images"),
        ({"normalization": {"STATE": "MEAN_STD", "ACTION": "MIN_MAX"}}, Launch(), "", ""),
        ({}, Launch(), "backend:cudaMallocAsync", "cudaMallocAsync"),
        ({}, Launch(unsupported="because"), "", "because"),
        ({}, Launch(), "", ""),
    ],
)
def test_what_is_not_supported_has_a_reason(run, launch, conf, said):
    """An answer that cannot be had is refused with its reason."""
    reason = why_unsupported(replace(RUN, **run), launch, conf)
    assert said in reason
    assert bool(said) == bool(reason)


def test_every_flavour_has_a_card_of_the_catalogue():
    """The table of jobs and the catalogue of GPUs go together."""
    for flavour, entry in flavours().items():
        assert entry["gpu"] == find_gpu(job_machine(flavour).gpu).name
    with pytest.raises(UsageError, match="did you mean a10g-large"):
        job_machine("a10g-lrge")


def test_shapes_that_are_missing_are_named():
    """What neither the dataset nor the user gives is asked for."""
    with pytest.raises(UsageError, match=r"--state-dim, --action-dim are missing"):
        run_inputs(RUN, None, Given(cameras=1, resolution="64x64"), looked="here")
