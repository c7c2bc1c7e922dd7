"""Who holds the memory: every view of a moment adds up to it, on hand-made traces and on a real ACT."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import actprof
from actprof.errors import TraceError
from actprof.explanation.explain import CONTEXT, PEAK, RUNS_OUT, UNUSED, difference, explain_cell
from actprof.explanation.sentences import LOOP, headline, lines_of, request_text, share
from actprof.explanation.tree_rows import ITSELF, list_rows
from actprof.prediction.predict import predict_cell
from actprof.units import GIB

SMALL_GPU = {"gpu": None, "capacity_bytes": 2 * GIB}


def assert_it_adds_up(moment):
    """Hold every view of a moment, and every point of its course, to the bytes of that moment."""
    whole = moment.allocated_bytes
    slack = moment.by_kind.get("allocator slack", 0)
    assert whole == sum(moment.by_kind.values()) == moment.modules.total_bytes == sum(moment.by_op.values())
    assert whole == slack + sum(tensor.bytes for tensor in moment.tensors)
    assert moment.process_bytes == whole + moment.unused_bytes + moment.context_bytes
    assert moment.process_bytes == sum(moment.parts.values())
    activations = sum(sum(groups.values()) for groups in moment.activations.values())
    assert moment.by_kind.get("activations", 0) == activations
    assert_rows_add_up(moment)
    assert_course_adds_up(moment)


def assert_rows_add_up(moment):
    """Rows of each level add up to the row above them, whatever is collapsed or summed."""
    for depth in (None, 1, 2, 9):
        rows = list_rows(moment.modules, depth=depth)
        assert moment.allocated_bytes == sum(row.bytes for row in rows if row.level == 0)
        for index, row in enumerate(rows):
            below = []
            for later in rows[index + 1 :]:
                if later.level <= row.level:
                    break
                below += [later] if later.level == row.level + 1 else []
            for name in ("bytes", "constant", "per_sample"):
                assert not below or getattr(row, name) == sum(getattr(other, name) for other in below)
        assert depth is None or max(row.level for row in rows) < depth


def assert_course_adds_up(moment):
    """At every point the kinds are what is allocated; the moment is one of them, and the highest."""
    course = moment.course
    points = [sum(values) for values in zip(*course.by_kind.values(), strict=True)]
    assert list(course.allocated_bytes) == points
    assert min(min(values) for values in course.by_kind.values()) >= 0
    assert moment.allocated_bytes == course.allocated_bytes[course.moment]
    assert dict(moment.by_kind) == {
        kind: values[course.moment] for kind, values in course.by_kind.items() if values[course.moment]
    }
    assert all(r >= a for r, a in zip(course.reserved_bytes, course.allocated_bytes, strict=True))


@pytest.mark.parametrize("batch_size", [2, 8, 1000, 4000])
@pytest.mark.parametrize("conf", ["", "expandable_segments:True"])
def test_every_view_adds_up(seed, batch_size, conf):
    """Kinds, modules, ops, tensors, activations and the course, whether it fits or not."""
    found = explain_cell(seed(batch_size=batch_size, alloc_conf=conf, **SMALL_GPU))
    for moment in found.moments:
        assert_it_adds_up(moment)


def test_every_view_adds_up_for_act(small_cell):
    """The real policy, at its peak and where it runs out."""
    for batch_size in (2, 512):
        found = explain_cell(replace(small_cell, batch_size=batch_size, capacity_bytes=5 * GIB // 4))
        for moment in found.moments:
            assert_it_adds_up(moment)
        assert (1 if batch_size == 2 else 2) == len(found.moments)
    assert found.moment.site.line
    assert found.moment.site.module.startswith("model")


def test_it_tells_what_predict_tells(seed):
    """The same result, and the moments are those of its numbers."""
    for batch_size in (8, 4000):
        cell = seed(batch_size=batch_size, **SMALL_GPU)
        found, told = explain_cell(cell), predict_cell(cell)
        assert replace(told, timing=found.result.timing) == found.result
        assert told.breakdown.by_kind == found.moment.by_kind
        assert told.peak_allocated_bytes == found.need.allocated_bytes
        assert told.peak_process_bytes == found.need.process_bytes


def test_a_run_that_runs_out_has_two_moments(seed):
    """Where it runs out on the device, and the peak that it would need."""
    found = explain_cell(seed(batch_size=4000, **SMALL_GPU))
    oom = found.result.oom
    assert [(RUNS_OUT, True), (PEAK, False)] == [(m.what, m.limited) for m in found.moments]
    assert (oom.step, oom.phase, oom.op, oom.module, oom.requested_bytes, oom.reserved_bytes) == (
        found.moment.step, found.moment.phase, found.moment.site.op, found.moment.site.module,
        found.moment.requested_bytes, found.moment.reserved_bytes,
    )  # fmt: skip
    assert len(found.moment.course.allocated_bytes) - 1 == found.moment.course.moment
    assert found.need.process_bytes > 2 * GIB


def test_it_may_run_out_before_anything_is_there(seed, make_trace):
    """With less memory than the context there is nothing to hold, and nothing fails."""
    found = explain_cell(seed(batch_size=8, gpu=None, capacity_bytes=1 << 20, used_by_others_bytes=1 << 20))
    assert (0, 0, "setup") == (found.moment.allocated_bytes, found.moment.step, found.moment.phase)
    assert "Nothing is allocated." == headline(found.moment)


def test_a_run_that_fits_has_one(seed):
    """Its peak; what it needs is the same moment."""
    found = explain_cell(seed(batch_size=8))
    assert (PEAK,) == tuple(moment.what for moment in found.moments)
    assert found.need is found.moment
    assert {UNUSED, CONTEXT} <= set(found.moment.parts)


def test_json_has_the_largest_tensors_and_the_rest_summed(seed):
    """With a number of tensors; without, all of them."""
    found = explain_cell(seed(batch_size=8))
    every = json.loads(json.dumps(found.to_json()))["moments"][0]
    some = found.to_json(tensors=2)["moments"][0]
    assert len(found.moment.tensors) == len(every["tensors"])
    assert every["tensors"][:2] == some["tensors"]
    assert {"count": len(every["tensors"]) - 2, "bytes": sum(t["bytes"] for t in every["tensors"][2:])} == (
        some["other_tensors"]
    )
    assert every["process_bytes"] == every["reserved_bytes"] + every["context_bytes"]


def test_the_difference_adds_up(seed):
    """By kind to the processes, by op to what is allocated; the largest change comes first."""
    first, second = (explain_cell(seed(batch_size=size)) for size in (8, 64))
    found = difference(first.need, second.need)
    for changes, whole in (
        (found.by_kind, second.need.process_bytes - first.need.process_bytes),
        (found.by_op, second.need.allocated_bytes - first.need.allocated_bytes),
    ):
        assert whole == sum(change.change_bytes for change in changes)
        sizes = [abs(change.change_bytes) for change in changes]
        assert sorted(sizes, reverse=True) == sizes
    (encoder,) = [change for change in found.by_module if change.name.startswith("model")]
    assert ("model.encoder", 84 << 20) == (encoder.name, encoder.change_bytes)
    assert (first.need.process_bytes, second.need.process_bytes) == (found.first_bytes, found.second_bytes)


def test_a_moment_does_not_differ_from_itself(seed):
    """Every change is nothing."""
    moment = explain_cell(seed(batch_size=8)).need
    same = difference(moment, moment)
    assert {0} == {change.change_bytes for change in (*same.by_kind, *same.by_module, *same.by_op)}


def test_the_headline_names_the_largest_holder(seed):
    """Of the hand-made policy, the encoder's activations; who comes next follows."""
    moment = explain_cell(seed(batch_size=64)).moment
    size = moment.by_kind["activations"]
    assert headline(moment).startswith(
        f"The encoder's activations hold {share(size, moment.allocated_bytes)} of the"
    )
    assert "at the peak (" in headline(moment)
    assert "It is reached when" in request_text(moment)


def test_lines_of_the_training_loop_are_named_so(small_cell):
    """The lines of lerobot's loop that actprof drives itself; elsewhere line and caller, once each."""
    moment = explain_cell(replace(small_cell, capacity_bytes=GIB)).moment
    lines = {tensor.kind: lines_of(tensor.made_by) for tensor in moment.tensors}
    assert (LOOP,) in {lines_of(tensor.made_by) for tensor in moment.tensors if tensor.kind == "inputs"}
    assert any(len(found) == 2 and found[1].startswith("lerobot/") for found in lines.values())
    assert all(len(set(found)) == len(found) for found in lines.values())


def test_a_step_that_cannot_be_traced_is_an_error(seed, monkeypatch):
    """There is nothing to show, and the reason is passed on."""

    def refuse(_cell):
        raise TraceError("aten::unique has no fake")

    monkeypatch.setattr("actprof.prediction.predict.trace_for", refuse)
    with pytest.raises(TraceError, match="aten::unique has no fake"):
        explain_cell(seed())


def test_rows_of_a_deep_tree_say_what_is_left_out(small_cell):
    """Chains are one row, a module's own part is a row, and what is small is summed up."""
    moment = explain_cell(replace(small_cell, capacity_bytes=GIB)).moment
    rows, every = list_rows(moment.modules), list_rows(moment.modules, depth=20)
    assert any("others" in row.label for row in rows)
    assert not any("others" in row.label for row in every)
    assert any(row.label == ITSELF for row in every)
    assert "encoder.layers" in {row.label for row in every}
    assert len(rows) < len(every)


@pytest.mark.slow
def test_the_run_that_started_all_this():
    """ACT, two 640x480 cameras, batch size 64: encoder, attention maps and ResNet feature maps hold it."""
    found = actprof.explain(overrides={"chunk_size": 50, "n_action_steps": 50}, batch_size=64)
    for moment in found.moments:
        assert_it_adds_up(moment)
    out, need = found.moments
    assert "forward" == out.phase == need.phase  # the peak is at the end of the forward pass

    def percent(moment, whole):
        encoder, backbone = moment.activations["encoder"], moment.activations["backbone"]
        parts = (sum(encoder.values()), sum(backbone.values()), encoder["attention maps"])
        return tuple(round(100 * part / whole) for part in parts)

    assert (54, 38, 28) == percent(out, out.allocated_bytes)
    assert (54, 35, 25) == percent(need, need.allocated_bytes)
    assert (57, 37, 27) == percent(need, need.by_kind["activations"])
    assert headline(out).startswith("The encoder's activations hold 54\u00a0% of the 22.33 GiB allocated")
