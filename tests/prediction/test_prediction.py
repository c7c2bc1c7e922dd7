"""One cell from question to answer, on hand-made traces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.errors import TraceError, UsageError
from actprof.explanation.explain import explain_cell
from actprof.prediction.predict import predict_cell
from actprof.results import Result
from actprof.units import GIB, MIB, format_bytes

# The hand-made trace needs 1.5 MiB and a little per sample: about 16,000 samples fill 24 GiB.
SMALL_GPU = {"gpu": None, "capacity_bytes": 2 * GIB}


def test_a_small_batch_fits_and_a_large_one_runs_out(seed):
    """The verdict follows the batch size."""
    small = predict_cell(seed(batch_size=8, **SMALL_GPU))
    large = predict_cell(seed(batch_size=4000, **SMALL_GPU))

    assert ("fits", None) == (small.verdict, small.oom)
    assert "oom" == large.verdict
    assert large.oom.message.startswith("CUDA out of memory. Tried to allocate")
    assert large.headroom_bytes < 0 < small.headroom_bytes


def test_the_boundary_is_the_same_from_both_sides(seed):
    """The largest batch size runs, the next does not, and every cell of the group names it."""
    boundary = predict_cell(seed(batch_size=8, **SMALL_GPU)).max_batch_size

    assert predict_cell(seed(batch_size=boundary, **SMALL_GPU)).runs
    above = predict_cell(seed(batch_size=boundary + 1, **SMALL_GPU))
    assert ("oom", boundary) == (above.verdict, above.max_batch_size)


def test_the_process_is_segments_plus_context(seed):
    """The third memory number adds the CUDA context to the reserved bytes."""
    result = predict_cell(seed())

    assert result.peak_reserved_bytes + result.gpu.context_bytes == result.peak_process_bytes
    assert result.peak_allocated_bytes <= result.peak_reserved_bytes


def test_peaks_do_not_depend_on_the_device(seed):
    """What a run needs is the same on every device; what happens to it is not."""
    roomy = predict_cell(seed(batch_size=1000))
    tiny = predict_cell(seed(batch_size=1000, **SMALL_GPU, used_by_others_bytes=GIB))

    assert roomy.peak_allocated_bytes == tiny.peak_allocated_bytes
    assert roomy.peak_reserved_bytes == tiny.peak_reserved_bytes
    assert ("fits", "oom") == (roomy.verdict, tiny.verdict)


def test_hopper_takes_larger_workspaces(seed):
    """Two cuBLAS workspaces of 32 MiB instead of two of 8.125 MiB."""
    ampere, hopper = (predict_cell(seed(gpu=name)).breakdown.by_kind for name in ("RTX 3090", "H100 80 GB"))

    assert (2 * 8_519_680, 2 * 32 * MIB) == (ampere["workspaces"], hopper["workspaces"])


def test_a_memory_fraction_is_honoured(seed):
    """`per_process_memory_fraction:0.4` caps what the run can have, and says so in the message."""
    free = predict_cell(seed(batch_size=500, **SMALL_GPU))
    capped = predict_cell(seed(batch_size=500, alloc_conf="per_process_memory_fraction:0.4", **SMALL_GPU))

    assert ("fits", "oom") == (free.verdict, capped.verdict)
    assert "819.20 MiB allowed" in capped.oom.message
    assert capped.max_batch_size < free.max_batch_size


def test_a_trace_of_one_batch_size_has_no_boundary(seed, make_trace):
    """Where sizes are not affine the boundary is not known, and nobody invents one."""
    trace = replace(make_trace(), fixed_batch_size=8, batch_sizes=(8,))

    assert predict_cell(seed(trace=trace, overrides={"chunk_size": 8})).max_batch_size is None


def test_a_step_that_cannot_be_traced_is_unknown(monkeypatch):
    """The verdict is `unknown`, with the reason; nothing is raised."""

    def refuse(_cell):
        raise TraceError("aten::unique has no fake")

    monkeypatch.setattr("actprof.prediction.predict.trace_for", refuse)
    result = predict_cell(Cell())

    assert ("unknown", "aten::unique has no fake") == (result.verdict, result.reason)


def test_a_compiled_policy_is_unknown(seed):
    """What is traced is the policy as it is: its figure stands in the reason, and it never `fits`."""
    eager = predict_cell(seed(overrides={"compile_model": False}))
    compiled = predict_cell(seed(overrides={"compile_model": True}))

    assert ("fits", "unknown") == (eager.verdict, compiled.verdict)
    assert f"without it the process needs {format_bytes(eager.peak_process_bytes)}" in compiled.reason
    with pytest.raises(TraceError, match="cannot be told: compile_model"):
        explain_cell(compiled.cell)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gpu": "RTX 3091"}, "RTX 3090"),
        ({"gpu": None}, "capacity"),
        ({"alloc_conf": "expandable_segment:True"}, "expandable_segments"),
    ],
)
def test_what_cannot_be_is_a_usage_error(fields, words):
    """Unknown GPUs, missing devices and unknown settings name the remedy."""
    with pytest.raises(UsageError, match=words):
        predict_cell(Cell(**fields))


def test_a_result_survives_json(seed):
    """Every field comes back from JSON, the curve and the out-of-memory event too."""
    import json

    for batch_size in (8, 4000):
        result = predict_cell(seed(batch_size=batch_size, **SMALL_GPU))
        back = Result.from_json(json.loads(json.dumps(result.to_json())))
        assert result.to_json() == back.to_json()
        assert result.oom == back.oom


def test_an_older_result_takes_defaults(seed):
    """A row that lacks newer fields is read, with their defaults."""
    data = predict_cell(seed()).to_json()
    for name in ("breakdown", "curve", "versions", "assumptions", "timing", "reason"):
        del data[name]

    assert Result.from_json(data).curve is None


def test_the_headroom_is_what_the_memory_fraction_leaves(seed):
    """Half a 2 GiB device is the cap: a run just below it is tight, whatever the other half could hold."""
    conf = "per_process_memory_fraction:0.5"
    boundary = predict_cell(seed(batch_size=8, alloc_conf=conf, **SMALL_GPU)).max_batch_size
    result = predict_cell(seed(batch_size=boundary, alloc_conf=conf, **SMALL_GPU))

    assert "tight" == result.verdict
    assert result.headroom_bytes < 0.03 * 2 * GIB


@pytest.mark.parametrize("fields", [{"capacity": "24"}, {"used_by_others": "2.3"}])
def test_a_forgotten_unit_is_refused(fields):
    """24 bytes are no GPU, and 2.3 bytes are nobody's."""
    with pytest.raises(UsageError, match="write"):
        make_cell(**fields)


@pytest.mark.parametrize("alloc_conf", ["", "expandable_segments:True", "max_split_size_mb:128"])
def test_a_batch_beyond_all_devices_runs_out_and_says_what_it_would_take(seed, alloc_conf):
    """1.5 PiB: more than CUDA has addresses for, and yet one sum."""
    asked = seed(batch_size=10**9, alloc_conf=alloc_conf)
    result = predict_cell(asked)

    assert "oom" == result.verdict
    assert 10**9 * (1 << 20) < result.peak_allocated_bytes <= result.peak_reserved_bytes
    assert result.max_batch_size < 20_000


def test_a_batch_without_addresses_is_refused(seed):
    """Where no replay can tell any more, the batch is named."""
    for batch_size in (10**13, 10**30):
        with pytest.raises(UsageError, match=f"batch_size is {batch_size}, for whose bytes"):
            predict_cell(seed(batch_size=batch_size))
