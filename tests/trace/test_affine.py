"""Sizes are `constant + per_sample * batch_size`, or there is no fit."""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given

from actprof.trace.affine import fit
from actprof.trace.recorder import Recorder


def recording(sizes, events=None, **columns):
    """Return a recorder with one op per tensor and the given sizes; all are freed at the end."""
    recorder, count = Recorder("cuda"), len(sizes)
    recorder.sizes = list(sizes)
    recorder.events = events or [*range(1, count + 1), *range(-count, 0)]
    recorder.kinds = [0] * count
    recorder.tensor_ops = list(range(count))
    recorder.shapes = [(size,) for size in sizes]
    recorder.dtypes = [torch.uint8] * count
    recorder.freed_by = [count - 1] * count
    recorder.op_names = ["aten.add.Tensor"] * count
    recorder.op_modules = [""] * count
    recorder.op_phases = [2] * count
    recorder.op_blas = [0] * count
    recorder.op_syncs = [False] * count
    recorder.op_flops = [10 * size for size in sizes]
    recorder.op_bytes = [2 * size for size in sizes]
    recorder.op_sites = [("torch/nn/linear.py:7 forward", "lerobot/act.py:9 forward")] * count
    recorder.step_starts, recorder.update_starts = [0], [0]
    for name, value in columns.items():
        setattr(recorder, name, value)
    return recorder


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**30)), min_size=1, max_size=8),
    st.lists(st.integers(1, 100), min_size=2, max_size=4, unique=True),
)
def test_the_fit_gives_back_what_the_recordings_were_made_of(terms, batch_sizes):
    """Constants and slopes of sizes, FLOPs and bytes come back exactly, at any batch sizes."""
    recorders = [recording([c + p * size for c, p in terms]) for size in batch_sizes]
    columns = fit(recorders, batch_sizes)
    assert [c for c, _p in terms] == columns["tensors"].constant.tolist()
    assert [p for _c, p in terms] == columns["tensors"].per_sample.tolist()
    assert [10 * p for _c, p in terms] == columns["ops"].flops_per_sample.tolist()
    assert [2 * c for c, _p in terms] == columns["ops"].bytes_constant.tolist()


def test_a_third_batch_size_that_disagrees_makes_it_no_fit():
    """Two points always lie on a line; the third is the proof."""
    assert fit([recording([20]), recording([30]), recording([70])], (2, 3, 7)) is not None
    assert fit([recording([20]), recording([30]), recording([72])], (2, 3, 7)) is None


def test_a_slope_that_is_no_whole_number_is_no_fit():
    """Bytes per sample are whole."""
    assert fit([recording([10]), recording([13])], (2, 4)) is None


def test_flops_that_are_not_affine_make_it_no_fit():
    """All three columns must agree, not only the sizes."""
    odd = recording([70], op_flops=[1])
    assert fit([recording([20]), recording([30]), odd], (2, 3, 7)) is None


def test_recordings_that_do_different_things_make_it_no_fit():
    """Another op, kind, phase or order of events is another program."""
    plain = recording([4, 8])
    for name, value in {
        "op_names": ["aten.add.Tensor", "aten.mul.Tensor"],
        "kinds": [0, 1],
        "op_phases": [2, 3],
        "events": [1, -1, 2, -2],
        "step_starts": [1],
        "notes": {"assumed": None},
    }.items():
        assert fit([plain, recording([4, 8], **{name: value})], (2, 3)) is None, name


def test_the_same_ops_in_another_module_are_the_same_program():
    """A policy may draw at random which of its equal heads runs; the first recording names it."""
    one, other = (recording([4, 8], op_modules=["", head]) for head in ("heads.0", "heads.1"))
    assert ("", "heads.0") == fit([one, other], (2, 3))["ops"].modules


def test_the_order_of_frees_between_two_allocations_means_nothing():
    """Autocast's cache is emptied in the order of addresses; the fit writes one order down."""
    one = recording([4, 8, 4], events=[1, 2, -1, -2, 3, -3])
    other = recording([4, 8, 4], events=[1, 2, -2, -1, 3, -3])
    assert [1, 2, -2, -1, 3, -3] == fit([one, other], (2, 3))["events"].tolist()


def test_frees_do_not_cross_into_another_step_or_phase():
    """What a step frees stays in the step."""
    events = [1, 2, -1, -2]
    columns = fit([recording([4, 8], events=events, step_starts=[0, 3])], (2,))
    assert events == columns["events"].tolist()


def test_one_recording_is_taken_as_it_is():
    """Without a second batch size nothing is known of the slope."""
    columns = fit([recording([12, 7])], (5,))
    assert [12, 7] == columns["tensors"].constant.tolist()
    assert not columns["tensors"].per_sample.any()
    assert columns["ops"].sync.dtype == np.bool_


@given(
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 2**20)), max_size=5),
    st.lists(st.integers(1, 100), min_size=2, max_size=4, unique=True),
)
def test_shapes_are_fitted_dimension_by_dimension(dimensions, batch_sizes):
    """Each dimension is `constant + per_sample * batch_size`, as the sizes are."""
    recorders = [recording([8], shapes=[tuple(c + p * size for c, p in dimensions)]) for size in batch_sizes]
    assert (tuple(dimensions),) == fit(recorders, batch_sizes)["load_details"]().shapes


def test_a_shape_on_which_recordings_do_not_agree_is_unknown_and_no_reason_to_refuse():
    """Shapes are for readers; the bytes decide whether a trace holds."""
    shapes = {
        2: [(2, 4), None, (2, 6), (2,)],
        3: [(3, 4), None, (3, 7), (3, 1)],
        7: [(7, 4), None, (7, 8), (7,)],
    }
    recorders = [recording([8] * 4, shapes=shapes[size]) for size in (2, 3, 7)]
    details = fit(recorders, (2, 3, 7))["load_details"]()
    assert (((0, 1), (4, 0)), None, None, None) == details.shapes


def test_details_are_those_of_the_first_recording():
    """Lines, dtypes, owners and frees do not depend on the batch size."""
    first = recording([4, 8], owners={1: "a.weight"}, freed_by=[1, -1], dtypes=[torch.bool, None])
    details = fit([first, recording([4, 8], op_sites=[("", "")] * 2)], (2, 3))["load_details"]()
    assert ("torch/nn/linear.py:7 forward",) * 2 == details.op_lines
    assert ("lerobot/act.py:9 forward",) * 2 == details.op_callers
    assert ("bool", "") == details.dtypes
    assert ("", "a.weight") == details.owners
    assert [1, -1] == details.freed_by.tolist()


def test_what_the_last_step_leaves_takes_the_place_of_what_it_found():
    """Pairs in order of allocation: batch for batch."""
    #        step 1         step 2: frees what step 1 left, in another order, and leaves the like
    events = [1, 2, 3, -3, 4, -2, 5, -1]
    recorder = recording([8, 16, 4, 8, 16], events=events, step_starts=[0, 4], update_starts=[0, 4])
    assert ((0, 3), (1, 4)) == fit([recorder], (1,))["carried"]


def test_a_last_step_that_leaves_something_else_cannot_be_repeated():
    """More, or other sizes, than it found: the next step would not be like it."""
    more = recording([8, 8, 8], events=[1, 2, -1, 3], step_starts=[0, 1], update_starts=[0, 1])
    larger = recording([8, 16], events=[1, 2, -1], step_starts=[0, 1], update_starts=[0, 1])
    assert fit([more], (1,))["carried"] is None
    assert fit([larger], (1,))["carried"] is None


def test_what_lives_through_every_step_is_not_carried():
    """Parameters and optimizer state are neither freed nor left anew."""
    with Recorder("cpu") as recorder:
        weight = torch.ones(4)
        batch = None
        for _ in range(2):
            with recorder.phase("data"):
                batch = torch.ones(2)
        recorder.stop()
    assert weight.shape != batch.shape
    assert ((1, 2),) == fit([recorder], (1,))["carried"]
