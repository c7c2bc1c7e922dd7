"""What differs between releases of lerobot, and what is said where one was not tried."""

from types import SimpleNamespace

import pytest
import torch

from actprof.cell import Cell
from actprof.errors import TraceError, UnknownAnswerError
from actprof.loading.measure import measure_loading
from actprof.loading.plan import LoaderQuestion
from actprof.policies.accelerator import StepAccelerator
from actprof.policies.dataset import batches
from actprof.policies.lerobot_versions import (
    TESTED,
    another_lerobot_is_named,
    bounds_decoders,
    lerobot_version,
)
from actprof.policies.precision import autocast_of
from actprof.policies.workload import build_workload

CPU = torch.device("cpu")
CONFIG = SimpleNamespace(action_delta_indices=None, observation_delta_indices=None, reward_delta_indices=None)


@pytest.fixture
def installed(monkeypatch):
    """Pretend that another release of lerobot is installed."""

    def pretend(version):
        monkeypatch.setattr("actprof.policies.lerobot_versions.package_version", lambda _name: version)

    return pretend


@pytest.mark.parametrize(
    ("version", "amp", "dtype"),
    [
        ("0.4.4", "fp32", "fp32"),
        ("0.5.1", "fp32", "fp32"),
        ("0.6.0", "fp32", "bf16"),
        ("0.6.1", "fp16", "bf16"),
        ("0.6.2", "fp32", "fp32"),
    ],
)
def test_what_decides_about_autocast_is_the_releases(installed, version, amp, dtype):
    """`use_amp` does in 0.6.1 alone, a `dtype` in 0.6.0 and 0.6.1; what the accelerator is told always."""
    installed(version)
    assert amp == autocast_of(Cell(overrides={"use_amp": True}))
    assert dtype == autocast_of(Cell(policy="pi0", overrides={"dtype": "bfloat16"}))
    assert "bf16" == autocast_of(Cell(precision="bf16"))


def test_without_lerobot_answers_are_for_the_newest_release(installed):
    """One of those that were tested."""
    installed("unknown")
    assert "0.6.1" == lerobot_version()
    assert lerobot_version() in TESTED


def test_a_lerobot_that_nobody_tried_is_named_with_those_that_were(installed, small_cell, monkeypatch):
    """What its training loop asks of the stand-in, and that has not, is no traceback."""
    workload = build_workload(small_cell, CPU)
    installed("0.9.0")
    monkeypatch.delattr(StepAccelerator, "autocast")
    with pytest.raises(
        TraceError, match=r"lerobot 0\.9\.0 .*no attribute 'autocast'.*tested are lerobot 0\.4\.4"
    ):
        workload.step()


@pytest.mark.parametrize("version", [*TESTED, "unknown"])
def test_of_a_tested_lerobot_an_error_stays_what_it_is(installed, version):
    """It is the policy's, then."""
    installed(version)
    with pytest.raises(AttributeError), another_lerobot_is_named():
        raise AttributeError


def test_the_stand_in_has_what_the_loop_of_0_6_2_asks_for():
    """`accumulate` opens a batch, and `sync_gradients` says whether the step follows."""
    accelerator = StepAccelerator(device_type="cpu")
    model = torch.nn.Linear(2, 2)
    accelerator.prepare(model, torch.optim.SGD(model.parameters()), precision="fp32")
    seen = []
    for number in range(3):
        with accelerator.accumulating(number, 3), accelerator.accumulate(model):
            seen.append(accelerator.sync_gradients)
    assert [False, False, True] == seen


def test_frames_come_as_this_lerobot_hands_them_out(installed, small_cell):
    """Bytes from 0.6.0 on; before, fractions of one."""
    for version, expected in (("0.6.0", torch.uint8), ("0.5.1", torch.float32)):
        installed(version)
        assert expected == next(batches(small_cell, CONFIG, CPU))["observation.images.camera0"].dtype


def test_decoders_are_bounded_by_what_this_lerobot_does(installed):
    """From 0.6.0 on, as its `VideoDecoderCache` is."""
    for version, expected in (("0.6.1", True), ("0.5.1", False)):
        installed(version)
        assert expected is bounds_decoders()


def test_data_loading_is_that_of_0_6_0_and_later(installed):
    """An older lerobot is told so, in a sentence."""
    installed("0.5.1")
    with pytest.raises(
        UnknownAnswerError, match=r"follows lerobot 0\.6\.0 and later, and 0\.5\.1 is installed"
    ):
        measure_loading(LoaderQuestion(repo_id="me/pick"))
