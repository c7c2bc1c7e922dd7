"""Where torch would ask the driver, a trace is what it is where torch does not."""

from actprof.replay.replay import ReplayConditions, replay
from actprof.trace import device_guard
from actprof.trace.record import record_trace


def test_a_trace_does_not_depend_on_the_guard(small_cell, monkeypatch):
    """Ops, sizes and peaks are those without it, to the byte."""
    usual = record_trace(small_cell)
    monkeypatch.setattr(device_guard, "torch_version", lambda: (2, 8))
    guarded = record_trace(small_cell)
    assert usual.ops.names == guarded.ops.names
    expected, actual = (replay(trace, 4, ReplayConditions()) for trace in (usual, guarded))
    assert expected == actual


def test_the_guard_is_put_back(monkeypatch):
    """As soon as nothing pretends to be on CUDA."""
    monkeypatch.setattr(device_guard, "torch_version", lambda: (2, 8))
    registry = device_guard._registry()
    before = list(registry)
    with device_guard.driver_not_asked():
        assert registry[14] == registry[1] != before[1]
    assert before == list(registry)
