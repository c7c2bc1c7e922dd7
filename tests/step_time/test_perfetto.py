"""The predicted step in the trace event format: whole, nested, and as PyTorch's profiler writes it."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest

import actprof
from actprof.errors import UsageError
from actprof.prediction.perfetto import NEVER_RAN, WITHOUT_LIMIT, perfetto_json
from actprof.prediction.predict import step_timeline
from actprof.step_time.perfetto import AUTOGRAD, MAIN, STEP, STREAM
from actprof.step_time.timeline import memory_course, nested

NANOSECOND = 1e-3  # as microseconds


@pytest.fixture(scope="module")
def found(session_cache):
    """An explained run whose trace comes with actprof."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTPROF_CACHE_DIR", session_cache)
        patch.setenv("ACTPROF_CONFIG_DIR", f"{session_cache}-without-configuration")
        return actprof.explain(gpu="H100", batch_size=8)


@pytest.fixture(scope="module")
def timeline(found):
    """Its step."""
    return step_timeline(found.prediction)


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    """What is written of it."""
    path = actprof.write_perfetto(found, tmp_path_factory.mktemp("perfetto") / "step.json")
    return json.loads(path.read_text(encoding="utf-8"))


def events(written, ph, **fields):
    return [
        event for event in written["traceEvents"] if event["ph"] == ph and fields.items() <= event.items()
    ]


def ends(event):
    return event["ts"], event["ts"] + event["dur"]


def test_every_event_is_one_of_the_format(written):
    """Slices last, arrows and slices have a track, and counters a number; nothing precedes the step."""
    needed = {
        "X": {"cat", "name", "pid", "tid", "ts", "dur", "args"},
        "s": {"cat", "name", "pid", "tid", "ts", "id"},
        "f": {"cat", "name", "pid", "tid", "ts", "id", "bp"},
        "C": {"name", "pid", "tid", "ts", "args"},
        "M": {"name", "pid", "tid", "ts", "args"},
    }
    for event in written["traceEvents"]:
        assert needed[event["ph"]] == event.keys() - {"ph"}
        assert 0 <= event["ts"]
        assert 0 <= event.get("dur", 0)
        assert all(isinstance(event[name], int) for name in ("pid", "tid"))
    assert needed.keys() == {event["ph"] for event in written["traceEvents"]}


def test_slices_of_a_track_are_nested(written):
    """Each lies within the one that is open, and the file has outer ones first."""
    tracks = defaultdict(list)
    for event in events(written, "X"):
        tracks[event["pid"], event["tid"]].append(event)
    for slices in tracks.values():
        is_open = []
        for event in sorted(slices, key=lambda event: event["ts"]):
            begin, end = ends(event)
            while is_open and is_open[-1] <= begin + NANOSECOND / 2:
                is_open.pop()
            assert not is_open or end <= is_open[-1] + NANOSECOND / 2, event
            is_open.append(end)


def test_the_sums_are_what_is_predicted(written, found):
    """The step lasts as long as predicted, and kernels as long as the GPU is busy; none overlap."""
    (step,) = events(written, "X", name=STEP)
    kernels = events(written, "X", pid=STREAM.pid, tid=STREAM.tid)
    result = found.result

    assert step["dur"] == pytest.approx(result.step_seconds.median * 1e6)
    assert result.kernel_launches == len(kernels)
    rounded = len(kernels) * NANOSECOND
    assert sum(event["dur"] for event in kernels) == pytest.approx(
        result.work.device_seconds * 1e6, abs=rounded
    )
    assert all(first["ts"] + first["dur"] <= second["ts"] for first, second in pairwise(kernels))


def test_each_launch_points_at_its_kernel(written):
    """An arrow begins in a launch and ends where its kernel begins, which is later."""
    launches = {
        event["args"]["correlation"]: event
        for event in events(written, "X", cat="cuda_runtime")
        if event["args"]
    }
    kernels = {
        event["args"]["correlation"]: event for event in events(written, "X", pid=STREAM.pid, tid=STREAM.tid)
    }
    starts, finishes = ({event["id"]: event for event in events(written, ph)} for ph in "sf")

    assert launches.keys() == kernels.keys() == starts.keys() == finishes.keys()
    for number, kernel in kernels.items():
        assert starts[number]["ts"] == launches[number]["ts"] < kernel["ts"] == finishes[number]["ts"]
        assert launches[number]["tid"] == starts[number]["tid"]


def test_phases_are_on_the_threads_of_pytorch(written):
    """The backward pass is the autograd thread's, the rest the main thread's, which waits meanwhile."""
    threads = {
        thread: [event["name"] for event in events(written, "X", cat="user_annotation", tid=thread.tid)]
        for thread in (MAIN, AUTOGRAD)
    }

    assert {MAIN: [STEP, "forward", "backward", "optimizer"], AUTOGRAD: ["backward"]} == threads
    ops = Counter(event["tid"] for event in events(written, "X", cat="cpu_op"))
    assert {MAIN.tid, AUTOGRAD.tid} == ops.keys()


def test_an_op_says_what_it_is_of(written):
    """Shapes, module and line of lerobot; the kernel also what it moves and what bounds it."""
    kernel = next(
        e for e in events(written, "X", cat="kernel") if e["name"].startswith("matrix product 4816x")
    )
    (op,) = (
        e
        for e in events(written, "X", cat="cpu_op")
        if e["args"]["External id"] == kernel["args"]["External id"]
    )

    assert "matrix product 4816x512x512 tf32 tn" == kernel["name"]
    assert ("aten::addmm", [4816, 512]) == (op["name"], op["args"]["Input Dims"][1])
    assert op["args"]["module"] == kernel["args"]["module"]
    assert "model.encoder" == kernel["args"]["module"][:13]
    assert "lerobot/policies/act/modeling_act.py" in kernel["args"]["line of lerobot"]
    assert ("arithmetic", 2 * 4816 * 512 * 512) == (kernel["args"]["bound by"], kernel["args"]["flops"])
    assert kernel["dur"] == pytest.approx(kernel["args"]["predicted seconds"] * 1e6, abs=NANOSECOND)


def test_a_wait_for_a_value_is_the_hosts(written):
    """`.item()` lasts until the GPU is done."""
    waits = events(written, "X", name="cudaStreamSynchronize")
    kernels = events(written, "X", pid=STREAM.pid, tid=STREAM.tid)

    assert waits
    for wait in waits:
        begin, end = ends(wait)
        assert end >= max(sum(ends(k)[1:]) for k in kernels if k["ts"] < begin + 4 + NANOSECOND)


def test_the_memory_reaches_the_predicted_peak(written, found, timeline):
    """The counter has the highest point of the step, and ends where the step began."""
    sizes = [event["args"]["bytes"] for event in events(written, "C", name="allocated")]

    assert found.result.peak_allocated_bytes == max(sizes)
    assert sizes[-1] < max(sizes) / 2
    told = found.prediction
    program = told.conditions.program(told.trace, 8)
    with pytest.raises(ValueError, match="with detail"):
        memory_course(timeline, replace(told.unlimited, timeline=None), program)


def test_the_queue_is_empty_where_the_gpu_waits(written):
    """It counts launches that are not done, and at the end there is none."""
    depths = [event["args"]["in the queue"] for event in events(written, "C", name="kernels")]

    assert (0, 0) == (min(depths), depths[-1])
    assert max(depths) > 1


def test_it_is_written_whole_gzipped_and_says_that_it_never_ran(written, found, tmp_path):
    """The same bytes each time."""
    first, second = (actprof.write_perfetto(found, tmp_path / f"{n}.json.gz").read_bytes() for n in "ab")

    assert first == second
    assert written == json.loads(gzip.decompress(first))
    assert len(first) < 1_000_000
    assert NEVER_RAN == written["otherData"]["what"] == written["traceName"]
    assert "--batch-size 8" in written["otherData"]["run"]


def test_a_run_that_does_not_fit_is_that_of_a_larger_gpu():
    """It says so."""
    found = actprof.explain(gpu="RTX 3060", batch_size=64)

    assert "oom" == found.result.verdict
    assert WITHOUT_LIMIT == json.loads(perfetto_json(found.prediction))["otherData"]["memory"]


def test_without_a_predicted_step_there_is_nothing_to_write(tmp_path):
    """Of a capacity alone nobody knows the speed."""
    with pytest.raises(
        UsageError, match=r"no predicted step to write: the speed of 80\.00 GiB GPU is unknown"
    ):
        actprof.write_perfetto(actprof.explain(capacity="80GiB"), tmp_path / "step.json")


def test_neighbours_that_begin_alike_are_one_span():
    """Outer spans come first; a shorter label ends what is deeper."""
    labels = [("a", "b", "1"), ("a", "b", "2"), ("a", "3"), ("a", "b", "4"), ("c",)]
    spans = [("/".join(span.label), span.first, span.last) for span in nested(labels)]

    assert [
        ("a", 0, 3), ("a/b", 0, 1), ("a/b/1", 0, 0), ("a/b/2", 1, 1), ("a/3", 2, 2), ("a/b", 3, 3),
        ("a/b/4", 3, 3), ("c", 4, 4),
    ] == spans  # fmt: skip


def test_pytorch_writes_the_same_keys(written, tmp_path):
    """Of the file, of a slice of an op, and of what threads are called."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    layer = torch.nn.Linear(4, 4)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as profiler:
        layer(torch.ones(2, 4)).sum().backward()
    profiler.export_chrome_trace(str(tmp_path / "torch.json"))
    real = json.loads((tmp_path / "torch.json").read_text(encoding="utf-8"))

    def first(data, **fields):
        return next(e for e in data["traceEvents"] if fields.items() <= e.items())

    ours, theirs = (first(data, ph="X", cat="cpu_op", name="aten::addmm") for data in (written, real))
    assert theirs.keys() == ours.keys()
    assert {"External id", "Input Dims"} <= ours["args"].keys() & theirs["args"].keys()
    for name in ("process_name", "process_labels", "process_sort_index", "thread_name", "thread_sort_index"):
        ours, theirs = (first(data, ph="M", name=name) for data in (written, real))
        assert (theirs.keys(), theirs["args"].keys()) == (ours.keys(), ours["args"].keys())
    ours, theirs = (first(data, ph="f") for data in (written, real))
    assert theirs.keys() == ours.keys()
    assert {"schemaVersion", "deviceProperties", "displayTimeUnit", "traceName", "traceEvents"} <= (
        real.keys() & written.keys()
    )
    assert (real["schemaVersion"], real["displayTimeUnit"]) == (
        written["schemaVersion"],
        written["displayTimeUnit"],
    )
