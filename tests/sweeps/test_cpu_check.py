"""The check on the CPU: each policy once on a machine, compared with every sweep's traces."""

from __future__ import annotations

import pytest
from processes import kill_oneself

from actprof.measuring.grounding import Grounding, GroundingError
from actprof.processes.pool import Workers
from actprof.sweeps import cpu_check
from actprof.sweeps.cpu_check import check_on_cpu
from actprof.sweeps.store import ResultsStore


@pytest.fixture
def ran(monkeypatch):
    """The cells that were run on the CPU; the runs see what the hand-made trace has."""
    calls = []
    monkeypatch.setattr(cpu_check, "ground", lambda cell: calls.append(cell) or grounding(cell))
    return calls


def grounding(cell, tokens=7):
    return Grounding(
        policy=cell.policy, cameras=cell.cameras, resolution=cell.resolution, batch_size=2,
        encoder_tokens=tokens, output_shape=(1,), parameters=0,
        forward_seconds=1.0, backward_seconds=1.0, update_seconds=1.0,
    )  # fmt: skip


def test_each_distinct_policy_is_run_once(scenario, store, here, ran):
    """Two resolutions, two runs, whatever the number of batch sizes; a second check runs nothing."""
    first = check_on_cpu(scenario, store, workers=here)
    second = check_on_cpu(scenario, store, workers=here)

    assert ["640x480", "320x240"] == [cell.resolution for cell in ran]
    assert ((2, 2), (2, 0)) == ((first.agree, first.ran), (second.agree, second.ran))
    assert 2 == len(store.groundings(scenario.cells))


def test_another_sweep_needs_no_run(scenario, store, here, ran, tmp_path):
    """What this machine has run it remembers, for whichever folder; `fresh` runs it again."""
    check_on_cpu(scenario, store, workers=here)
    with ResultsStore(tmp_path / "other") as other:
        found = check_on_cpu(scenario, other, workers=here)
        assert (2, 0, 2) == (found.agree, found.ran, len(other.groundings(scenario.cells)))
        assert 2 == check_on_cpu(scenario, other, fresh=True, workers=here).ran
    assert 4 == len(ran)


def test_another_lerobot_is_another_check(scenario, store, here, ran, monkeypatch):
    """Its versions are part of what is remembered."""
    check_on_cpu(scenario, store, workers=here)
    monkeypatch.setattr(cpu_check, "versions_for", lambda _cell: {"lerobot": "99"})
    monkeypatch.setattr(cpu_check, "fingerprint", lambda _cell: "of lerobot 99")

    assert 2 == check_on_cpu(scenario, store, workers=here).ran
    assert 4 == len(ran)


def test_a_real_run_that_differs_from_the_trace_is_an_error(scenario, store, here, monkeypatch):
    """The message names both numbers; neither the store nor the machine remembers it as passed."""
    monkeypatch.setattr(cpu_check, "ground", lambda cell: grounding(cell, tokens=602))

    for _ in range(2):
        with pytest.raises(GroundingError, match="encoder tokens 602, the trace 7"):
            check_on_cpu(scenario, store, workers=here)
    assert () == store.groundings()


def test_what_is_remembered_is_compared_again(scenario, here, ran, tmp_path, monkeypatch):
    """A remembered run is held against each sweep's own trace."""
    with ResultsStore(tmp_path / "out") as store:
        check_on_cpu(scenario, store, workers=here)
    monkeypatch.setattr(cpu_check, "check_grounding", fail)
    with (
        ResultsStore(tmp_path / "other") as other,
        pytest.raises(GroundingError, match="not the same"),
    ):
        check_on_cpu(scenario, other, workers=here)
    assert 2 == len(ran)


def fail(_grounding, _traced):
    raise GroundingError("not the same")


def test_a_real_run_that_kills_its_process_is_left_out(scenario, store, monkeypatch):
    """There is nothing to compare with, and it says so."""
    monkeypatch.setattr(cpu_check, "ground", kill_oneself)
    found = check_on_cpu(scenario, store, workers=Workers(jobs=1))

    assert (0, 2) == (found.agree, len(found.left_out))
    assert found.left_out[0].startswith("act 640x480 2 cameras chunk_size=7: the process")
    assert () == store.groundings()


def test_an_interrupted_check_keeps_what_it_ran(scenario, store, here, ran):
    """The next one goes on from there."""

    def interrupt(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_on_cpu(scenario, store, workers=Workers(executor=here.executor, listener=interrupt))
    assert 1 == len(store.groundings())
    del ran[:]
    assert 1 >= check_on_cpu(scenario, store, workers=here).ran
