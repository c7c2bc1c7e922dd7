"""A loop over samples leaves the batch, and nothing of how often it went round."""

import pytest
import torch

from actprof.trace.affine import fit
from actprof.trace.recorder import Recorder
from actprof.trace.sample_loops import NOTE, without_sample_loops

SIZES = (2, 3, 7)


def recording(batch_size, steps=2):
    """Record steps that square their samples one by one, then add one in the update."""
    with Recorder("cpu") as recorder:
        weight = torch.ones(16)
        for _ in range(steps):
            with recorder.phase("data"):
                samples = torch.ones(batch_size, 8)
                rows = [(sample * sample).sum(0, keepdim=True) for sample in samples]
                batch = torch.stack(rows)
                del samples, rows
            with recorder.phase("update"):
                out = batch + 1
                del out
        recorder.stop()
    assert weight.shape != batch.shape
    return recorder


def live_bytes(recorder):
    """Return what is alive after each event."""
    alive, history = 0, []
    for event in recorder.events:
        alive += recorder.sizes[abs(event) - 1] * (1 if event > 0 else -1)
        history.append(alive)
    return history


def test_recordings_that_no_line_goes_through_agree_without_their_loops():
    """At three batch sizes; the batch of one step is carried to the next."""
    recorders = [recording(size) for size in SIZES]
    assert fit(recorders, SIZES) is None
    fitted = fit([without_sample_loops(recorder) for recorder in recorders], SIZES)
    assert 1 == len(fitted["carried"])
    at_five = without_sample_loops(recording(5))
    assert at_five.sizes == fitted["tensors"].requested_bytes(5).tolist()
    assert at_five.events == fitted["events"].tolist()


@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_peaks_and_what_stays_are_those_of_the_loop(batch_size):
    """In every step, and after it."""
    whole = recording(batch_size)
    short = without_sample_loops(whole)
    assert live_bytes(whole)[-1] == live_bytes(short)[-1]
    for number in range(2):
        step = [live_bytes(r)[slice(*[*r.step_starts, None][number : number + 2])] for r in (whole, short)]
        assert max(step[0]) == max(step[1])


def test_the_update_is_as_it_was():
    """Its ops and tensors keep their order, phases and bytes; only their numbers move."""
    whole = recording(4)
    short = without_sample_loops(whole)
    updates = [
        [
            (name, moved)
            for name, phase, moved in zip(r.op_names, r.op_phases, r.op_bytes, strict=True)
            if phase > 1
        ]
        for r in (whole, short)
    ]
    assert updates[0] == updates[1]
    assert short.op_names[short.tensor_ops[-1]] == whole.op_names[whole.tensor_ops[-1]]
    assert [r.op_phases[r.tensor_ops[-1]] for r in (whole, short)] == [4, 4]


def test_what_was_left_out_is_said():
    """The kernels of the loop are not timed."""
    assert NOTE in without_sample_loops(recording(2)).notes


def test_a_phase_in_which_nothing_passes_stays_as_it_is():
    """What stays and what the step before left are not touched."""
    with Recorder("cpu") as recorder:
        for _ in range(2):
            with recorder.phase("data"):
                batch = torch.ones(4)
            with recorder.phase("update"):
                (batch * 2).sum()
        recorder.stop()
    short = without_sample_loops(recorder)
    assert recorder.events == short.events
    assert recorder.sizes == short.sizes
    assert recorder.freed_by == short.freed_by
