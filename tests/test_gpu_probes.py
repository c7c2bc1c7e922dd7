"""The scripts that take data on a GPU: what they would ask it, and what they make of its answers. No GPU."""

from __future__ import annotations

import gzip
import importlib
import json
import random
from itertools import islice
from math import prod
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from actprof.measurement import DeviceFacts, Measurement, Spread, StepMemory
from actprof.measuring.request import Answer
from actprof.snapshots.recording import open_recording
from actprof.trace.fake import fake_cuda
from actprof.units import GIB

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
TAKEN = Path(__file__).parents[1] / "reports/accuracy/h100"
SNAPSHOT = Path(__file__).parent / "data" / "native-retry.pickle"
COMMANDS = ("probe_ops", "probe_cudnn", "probe_benchmark", "probe_context", "measure_many")
# These need a real device: their autograd, their random numbers, or their sizes.
NOT_ON_FAKES = {
    "rms_norm_fb", "cross_entropy_fb", "pad_replicate_fb", "sdpa_auto_fb", "sdpa_auto_mask_fb",
    "beta", "_sample_dirichlet",
}  # fmt: skip


@pytest.fixture
def script(monkeypatch):
    """Return what imports a script by its name."""
    monkeypatch.syspath_prepend(SCRIPTS / "gpu")
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


def taken(name):
    with gzip.open(TAKEN / name) as file:
        found = json.load(file)
    return found if isinstance(found, list) else found["rows"]


def event(action, size):
    return {"action": action, "size": size, "addr": 0, "stream": 0}


def marker(size):
    """Return what a marker leaves in the history."""
    return [event(action, size) for action in ("alloc", "free_requested", "free_completed")]


# -- the events of a case -----------------------------------------------------------------------------------


def test_events_between_markers_are_a_case_and_others_are_none(script):
    """Also one that allocated nothing, and flags of seven bytes."""
    common = script("_common")
    begin, end = marker(common.OPEN_BYTES), marker(common.CLOSE_BYTES)
    inside = [event("segment_alloc", 2 << 20), event("alloc", 7), event("free_requested", 7)]
    inside += [event("free_completed", 7), event("segment_free", 2 << 20), event("alloc", 512)]
    trace = [event("alloc", 99), *begin, *inside, *end, event("free_completed", 99), *begin, *end]
    assert [[7, -7, 512], []] == common.split_events(trace)
    assert [[7, -7, "segment_free", 512], []] == common.split_events(trace, also=("segment_free",))


def test_a_marker_that_is_missing_is_an_error(script):
    """No case is given the events of another."""
    common = script("_common")
    begin, end = marker(common.OPEN_BYTES), marker(common.CLOSE_BYTES)
    for broken in ([*begin, *begin, *end], [*begin, *end, *end], [*end], [*begin]):
        with pytest.raises(ValueError, match=r"after case|inside case"):
            common.split_events(broken)


def test_temporaries_are_what_is_no_result(script):
    """A temporary of the size of a result stays."""
    results = [torch.empty(4, 8, device="meta"), torch.empty(2, device="meta", dtype=torch.int64)]
    assert [128, 2592] == script("_common").temporaries([128, 128, 16, 2592, -2592], results)


# -- what is asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_says_what_there_is_and_writes_nothing(script, name, tmp_path):
    """Each script is a command."""
    done = CliRunner().invoke(script(name).main, [str(tmp_path / "out"), "--dry-run"])
    assert 0 == done.exit_code, done.output
    assert done.output
    assert not (tmp_path / "out").exists()


def test_the_convolutions_are_those_of_the_files(script):
    """All that one H100 was asked of, in the same order where it is timed."""
    common, cudnn, benchmark = map(script, ("_common", "probe_cudnn", "probe_benchmark"))

    def named(rows, *columns):
        return [json.dumps([row[column] for column in columns]) for row in rows]

    geometry = ("kind", "x", "w", "stride", "pad", "dt")
    timed = [common.described(one) for one in cudnn.timed_problems()]
    listed = [common.described(one) for one in cudnn.problems()]
    times = named(taken("plan-times.json.gz"), *geometry)
    assert times == named(timed, *geometry)[: len(times)]
    columns = (*geometry, "y", "dil", "cl")
    assert set(named(taken("cudnn-plans.json.gz"), *columns)) == set(named(listed, *columns))
    chosen = {json.dumps(row[0]) for row in taken("benchmark-choices.json.gz")}
    assert chosen == {json.dumps(benchmark.named(one)) for one in benchmark.problems()}


def test_every_op_takes_its_tensors(script):
    """On a GPU that does not exist, at the smaller batch size."""
    ops, layers = script("probe_ops"), script("_layer_ops")
    cases = [(op, dtype) for op, dtype in ops.cases() if op.name not in NOT_ON_FAKES]
    assert {row[0] for row in taken("ops.json.gz")} - {"BatchNorm2d_fb"} == {op.name for op, _ in ops.cases()}
    seen = set()
    with fake_cuda():
        for op, dtype in cases:
            if op.name not in seen and dtype == op.dtypes[0]:
                op.program(
                    *(torch.empty(shape, device="cuda", dtype=ops.DTYPES[dtype]) for shape in op.shapes)
                )
                seen.add(op.name)
    assert seen == {op.name for op, _ in cases}
    assert len(layers.layer_ops()) > 100


def test_drawn_reductions_are_reductions(script):
    """Equal seeds draw equal ones; each kind occurs, tensors have the shape, results what is left of it."""
    ops = script("probe_ops")
    sources = [random.Random(7) for _ in range(2)]  # noqa: S311 - shapes, no secrets
    drawn, again = (list(islice(ops.draw(source, most_log2=9), 400)) for source in sources)
    assert drawn == again
    assert set(ops.KINDS) == {one.op for one in drawn} == {row[0] for row in taken("reductions.json.gz")}
    assert {"dense", "permuted", "sliced", "expanded"} == {one.layout for one in drawn}
    for one in drawn:
        x = ops.tensor_of(one, "cpu")
        assert one.shape == tuple(x.shape)
        reduced = prod(one.shape[dim] for dim in one.dims or range(x.dim()))
        assert {x.numel() // reduced} == {result.numel() for result in ops.reduce(one, x)}


def test_the_operation_of_a_graph_can_have_another(script):
    """The graph of a handle is made around the operation that actprof's own descriptors describe."""
    cudnn = script("probe_cudnn")
    library = script("actprof.cudnn.library")
    try:
        operation = cudnn.operation_of(cudnn.problems()[0])
    except library.CudnnError as error:
        pytest.skip(str(error))
    graph = library.Descriptor(library.Kind.GRAPH)
    graph.set(library.Attribute.GRAPH_OPERATIONS, library.Type.DESCRIPTOR, operation).finalize()
    assert library.Kind.FORWARD == operation._kind


def test_the_steps_of_a_process_are_known(script):
    """In every order."""
    context = script("probe_context")
    assert set(context.STEPS) == {step for order, _ in context.ORDERS for step in order.split(",")}


# -- runs and recordings ------------------------------------------------------------------------------------


def test_jobs_have_names_of_their_own(script):
    """A row, and a recording, is known by its name."""
    names = [job.name for job in script("_jobs").jobs()]
    assert len(names) == len(set(names)) > 50
    assert not any(" " in name for name in names)


def test_jobs_share_the_card_while_it_has_room(script):
    """One that is timed has it to itself; one that is too large for the limit runs alone."""
    many, made = script("measure_many"), script("_jobs")
    small, *_rest = (job for job in made.jobs() if not job.guess)
    timed = next(job for job in made.jobs() if job.alone)

    def may(job, *running):
        return many.may_begin(job, running, parallel=3, gib=2.5 * small.gib)

    assert [True, True, False] == [may(small), may(small, small), may(small, small, small)]
    assert [True, False, False] == [may(timed), may(timed, small), may(small, timed)]


def test_a_run_is_a_line_that_the_ledger_reads(script):
    """What `measure_many.py` writes of a run is what `measured_rows.py` takes."""
    many, rows = script("measure_many"), script("measured_rows")
    job = next(job for job in script("_jobs").jobs() if job.guess)
    steps = tuple(
        StepMemory(peak_allocated_bytes=GIB, peak_reserved_bytes=2 * GIB, retries=n) for n in (1, 0)
    )
    facts = DeviceFacts(type="cpu", name="NVIDIA H100 80GB HBM3", total_bytes=80 * GIB)
    found = Answer(
        device=facts,
        step_seconds=Spread.of([0.1, 0.2]),
        measurement=Measurement(step_memory=steps, cap_bytes=GIB),
    )
    line = json.loads(json.dumps(many.row_of(job, found, ":4096:2:16:8") | {"process_bytes": 3 * GIB}))
    row = rows.row_of_run(line, device=facts, versions={}, date="2026-11-26")
    assert (GIB, 2 * GIB) == (row.measured.allocated_bytes, row.measured.reserved_bytes)
    assert "" == rows.why_left_out(line)
    assert "it failed (gone)" == rows.why_left_out(many._base(job, "gone"))


def test_a_stripped_recording_is_the_recording(script, tmp_path):
    """The same events and the same end, and of the frames only folder, file, line and function."""
    strip = script("strip_recording")
    whole = open_recording(SNAPSHOT)
    found = strip.strip(strip.read_pickle(SNAPSHOT), torch="2.11.0+cu130")
    assert len(whole.events) == len(found["events"]) == len(found["event_callers"])
    four = found | {"events": [row[:4] for row in found["events"]]}
    script("_common").write_json_gz(tmp_path / "stripped.json.gz", four)
    stripped = open_recording(tmp_path / "stripped.json.gz")
    assert (whole.final, whole.config) == (stripped.final, stripped.config)
    for column in ("action", "address", "size_bytes"):
        assert (getattr(whole.events, column) == getattr(stripped.events, column)).all()
    assert all(name.count("/") <= 1 for name in (*found["frames"], *found["callers"]))
