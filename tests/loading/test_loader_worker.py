"""The loader's process: rounds of batches, and lerobot's own arguments."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from actprof.errors import UsageError
from actprof.loading.dataset import Endless, make_config, worker_arguments
from actprof.loading.plan import Load, SourceRequest
from actprof.loading.rows import PYAV, VIDEO, LoaderRow, Source
from actprof.loading.time_source import time_batches, too_slow
from actprof.measurement import Spread


class Clock:
    """A clock that only batches move."""

    def __init__(self, gaps):
        self.now = 0.0
        self._gaps = iter(gaps)

    def __call__(self):
        return self.now

    def batches(self):
        """Yield batches, each after its gap."""
        for gap in self._gaps:
            self.now += gap
            yield gap


def test_bursts_are_timed_by_rounds():
    """Two workers hand out two batches every two seconds: one a second, whatever the gaps within a round."""
    clock = Clock(itertools.chain([9.0, 0.0], itertools.cycle([2.0, 0.0])))
    spread, counted, _ = time_batches(clock.batches(), 2, 10.0, clock=clock)
    assert Spread(low=1.0, median=1.0, high=1.0) == spread
    assert 10 == counted


def test_the_first_batch_is_left_out():
    """It opens the files."""
    clock = Clock(itertools.chain([50.0], itertools.repeat(0.5)))
    spread, counted, _ = time_batches(clock.batches(), 0, 5.0, clock=clock)
    assert (0.5, 10) == (spread.high, counted)


def test_slow_batches_are_timed_at_least_three_times_but_not_for_ever():
    """Unless that takes more than four times as long as asked for."""
    patient, hasty = Clock(itertools.repeat(2.0)), Clock(itertools.repeat(7.0))
    assert 3 == time_batches(patient.batches(), 0, 2.0, clock=patient)[1]
    assert 2 == time_batches(hasty.batches(), 0, 2.0, clock=hasty)[1]


def test_what_runs_before_a_batch_is_not_timed():
    """Dropping files from the cache takes time of its own."""
    clock = Clock(itertools.repeat(1.0))

    def before():
        clock.now += 100

    assert 1.0 == time_batches(clock.batches(), 0, 3.0, before=before, clock=clock)[0].high


def test_workers_are_not_waited_for_where_a_batch_takes_too_long():
    """The reason says how to measure it all the same."""
    source = Source(storage=VIDEO, width=64, height=64, backend=PYAV)
    row = LoaderRow(source=source, batch_size=8, workers=0, batch_seconds=Spread.of([16.0]))
    assert "--seconds 16" in too_slow([row], 3.0)
    assert not too_slow([row], 4.0)
    assert not too_slow([], 3.0)


def test_the_sampler_begins_again():
    """Epoch after epoch."""
    sampler = Endless([3, 1, 2])
    assert [3, 1, 2, 3, 1] == list(itertools.islice(sampler, 5))
    assert 3 == len(sampler)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_has_the_arguments_of_lerobot(workers):
    """Those of `lerobot_train`, from the same config."""
    from lerobot.scripts.lerobot_train import _dataloader_worker_kwargs

    load = Load(batch_size=8, workers=workers)
    request = SourceRequest(repo_id="me/pick", backend="pyav", resize="224x112", loads=(load,))
    config = make_config(request, load)
    assert _dataloader_worker_kwargs(config) == worker_arguments(config)
    assert (8, workers, 100) == (config.batch_size, config.num_workers, config.policy.chunk_size)
    assert {"size": (112, 224)} == config.dataset.image_transforms.tfs["resize"].kwargs


def sample_of(policy, **overrides):
    """Return the columns of a sample with more than one time step, at 10 frames a second."""
    from lerobot.datasets.factory import resolve_delta_timestamps

    load = Load(batch_size=8, workers=0)
    config = make_config(
        SourceRequest(repo_id="me/pick", loads=(load,), policy=policy, overrides=overrides), load
    )
    features = dict.fromkeys(("action", "observation.state", "observation.images.camera0", "next.reward"))
    return resolve_delta_timestamps(config.policy, SimpleNamespace(features=features, fps=10))


def test_a_sample_of_act_has_a_chunk_of_actions():
    """One time step for each action, and the present state and frame."""
    assert {"action": [0.0, 0.1, 0.2]} == sample_of("act", chunk_size=3, n_action_steps=3)


def test_a_sample_of_diffusion_has_a_history():
    """Two frames and states, and the actions from the first of them on."""
    found = sample_of("diffusion", horizon=8, n_action_steps=4)

    assert [-0.1, 0.0] == found["observation.images.camera0"] == found["observation.state"]
    assert (8, -0.1) == (len(found["action"]), found["action"][0])
    assert "next.reward" not in found


def test_what_lerobot_refuses_of_a_policy_is_said():
    """In its words, with the field that is meant."""
    with pytest.raises(UsageError, match="did you mean"):
        sample_of("diffusion", horizn=8)
