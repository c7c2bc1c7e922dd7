"""A predicted step in the trace event format, as PyTorch's profiler writes it: for Perfetto and chrome://tracing.

Tracks as there: the main thread has forward pass and optimizer, the autograd thread the backward pass, a
stream the kernels; an arrow leads from a launch to its kernel. Of the host only a launch as a whole is
predicted: its slice holds Python and dispatcher too, and lasts longer where the queue is full. Beside the
stream stand the component that each kernel is of, how many kernels wait, and the memory.

The format is Chromium's "Trace Event Format"; times are microseconds from the start of the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from actprof.step_time.kernel import FILL, TRANSFER
from actprof.step_time.step import BACKWARD
from actprof.step_time.timeline import StepTimeline, bound_by, nested
from actprof.trace.model import PHASES

Event = dict[str, Any]


class Track(NamedTuple):
    """A thread or stream of the trace."""

    pid: int
    tid: int


HOST, GPU = 1, 0  # processes
MAIN, AUTOGRAD = Track(HOST, 1), Track(HOST, 2)
COMPONENTS, STREAM = Track(GPU, 8), Track(GPU, 7)
STEP = "ProfilerStep#1"  # what tools that read PyTorch's traces look for
_CATEGORIES = {TRANSFER: "gpu_memcpy", FILL: "gpu_memset"}
_CALLS = {TRANSFER: "cudaMemcpyAsync", FILL: "cudaMemsetAsync"}


def perfetto_trace(
    timeline: StepTimeline, facts: Mapping[str, str], memory: Iterable[tuple[float, int, int]] = ()
) -> dict[str, Any]:
    """Return a step as an object of the trace event format, to be written as JSON.

    Args:
        timeline: of the step.
        facts: what is said of it in the trace's head and at its outermost slice.
        memory: (seconds, allocated bytes, reserved bytes); see `memory_course`.
    """
    gpu, played = timeline.gpu, timeline.step.played
    about = {**facts, "predicted seconds": played.seconds, "GPU busy seconds": played.device_seconds}
    events = [
        *_names(gpu.name, timeline.step.host.name),
        _slice(MAIN, "user_annotation", STEP, (0.0, played.seconds), about),
        *_host(timeline),
        *_device(timeline),
        *_queue(timeline),
        *_memory(memory),
    ]
    major, minor = gpu.compute_capability
    return {
        "schemaVersion": 1,
        "deviceProperties": [
            {
                "id": 0, "name": gpu.name, "totalGlobalMem": gpu.capacity_bytes, "computeMajor": major,
                "computeMinor": minor, "numSms": gpu.multiprocessors,
            }
        ],
        "record_shapes": 1,
        "with_flops": 1,
        "with_modules": 1,
        "displayTimeUnit": "ms",
        "baseTimeNanoseconds": 0,
        "traceName": "predicted, never ran",
        "otherData": dict(facts),
        "traceEvents": events,
    }  # fmt: skip


# -- the host --------------------------------------------------------------------------------------------


def _host(timeline: StepTimeline) -> Iterator[Event]:
    """Yield phases, modules, ops and launches, each slice before those within.

    A backward pass is of both threads: the main one waits for the other.
    """
    rows = timeline.step.rows
    ops = [list(run) for _, run in groupby(range(len(rows)), lambda index: rows[index])]
    paths = [_levels(timeline.trace.ops.modules[rows[op[0]]]) for op in ops]
    labels = [(timeline.phases[op[0]], *path, str(rows[op[0]])) for op, path in zip(ops, paths, strict=True)]
    for span in nested(labels):
        phase, *path = span.label
        track = AUTOGRAD if phase == PHASES[BACKWARD] else MAIN
        times = (timeline.begins[ops[span.first][0]], timeline.ends[ops[span.last][-1]])
        if not path:
            for each in dict.fromkeys((MAIN, track)):
                yield _slice(each, "user_annotation", phase, times)
        elif len(span.label) < len(labels[span.first]):
            named = {"module": ".".join(path)}
            yield _slice(track, "python_function", f"nn.Module: {path[-1]}", times, named)
        else:
            row = rows[ops[span.first][0]]
            yield _slice(track, "cpu_op", _op_name(timeline, row), times, _of_op(timeline, row))
            for index in ops[span.first]:
                yield from _launch(timeline, index, track)


def _levels(module: str) -> list[str]:
    """Return the names of nested modules; a number stays with the list that it counts in."""
    names: list[str] = []
    for name in module.split(".") if module else ():
        if name.isdigit() and names:
            names[-1] += f".{name}"
        else:
            names.append(name)
    return names


def _launch(timeline: StepTimeline, index: int, track: Track) -> Iterator[Event]:
    begin, end = timeline.begins[index], timeline.ends[index]
    launch, launched = timeline.step.launches[index], float(timeline.step.played.launched[index])
    name = _CALLS.get(timeline.step.kernels[index].kind, "cudaLaunchKernel")
    args: Event = {"External id": timeline.step.rows[index], "correlation": index}
    args["predicted seconds"] = launch.host
    yield _slice(track, "cuda_runtime", name, (begin, launched if launch.waits else end), args)
    yield _arrow("s", index, track, begin)
    if launch.waits:
        yield _slice(track, "cuda_runtime", "cudaStreamSynchronize", (launched, end))


def _op_name(timeline: StepTimeline, row: int) -> str:
    namespace, name, *_ = timeline.trace.ops.names[row].split(".")
    return f"{namespace}::{name}"


def _of_op(timeline: StepTimeline, row: int) -> Event:
    details = timeline.details
    operands = details.calls[details.op_calls[row]].at(timeline.batch_size).operands
    return {
        "External id": row,
        "module": timeline.trace.ops.modules[row],
        "line": details.op_lines[row],
        "line of lerobot": details.op_callers[row],
        "Input Dims": [list(operand.shape) for operand in operands],
        "Input type": [operand.dtype for operand in operands],
    }


# -- the device ------------------------------------------------------------------------------------------


def _device(timeline: StepTimeline) -> Iterator[Event]:
    """Yield the kernels, and on a track of their own the phases and components that they are of."""
    launches, played = timeline.step.launches, timeline.step.played
    begins, ends = played.began.tolist(), played.ended.tolist()
    for span in nested(list(zip(timeline.phases, timeline.components, strict=True))):
        busy = sum(launch.device for launch in launches[span.first : span.last + 1])
        times = (begins[span.first], ends[span.last])
        args = {"GPU busy seconds": busy}
        yield _slice(COMPONENTS, "gpu_user_annotation", span.label[-1], times, args)
    for index, kernel in enumerate(timeline.step.kernels):
        category, name = _CATEGORIES.get(kernel.kind, "kernel"), timeline.kernel_name(kernel)
        times = (begins[index], ends[index])
        yield _slice(STREAM, category, name, times, _of_kernel(timeline, index))
        yield _arrow("f", index, STREAM, begins[index])


def _of_kernel(timeline: StepTimeline, index: int) -> Event:
    step = timeline.step
    row, kernel, time = step.rows[index], step.kernels[index], step.times[index]
    return {
        "External id": row,
        "device": 0,
        "stream": STREAM.tid,
        "correlation": index,
        "op": _op_name(timeline, row),
        "phase": timeline.phases[index],
        "component": timeline.components[index],
        "module": timeline.trace.ops.modules[row],
        "line of lerobot": timeline.details.op_callers[row],
        "bytes": round(kernel.bytes),
        "flops": round(kernel.flops),
        "bound by": bound_by(time),
        "predicted seconds": time.seconds,
        "arithmetic seconds": time.arithmetic,
        "traffic seconds": time.traffic,
    }


def _queue(timeline: StepTimeline) -> Iterator[Event]:
    """Yield how many kernels have been launched and are not done: none where the GPU waits for the host."""
    played = timeline.step.played
    changes = [(seconds, 1) for seconds in played.launched.tolist()]
    changes += [(seconds, -1) for seconds in played.ended.tolist()]
    depth = 0
    for seconds, change in sorted(changes):
        depth += change
        yield _counter(("kernels", "in the queue"), GPU, seconds, depth)


def _memory(course: Iterable[tuple[float, int, int]]) -> Iterator[Event]:
    """Yield the sizes where they change."""
    before: dict[str, int] = {}
    for seconds, allocated, reserved in course:
        for name, size in (("allocated", allocated), ("reserved", reserved)):
            if before.get(name) != size:
                before[name] = size
                yield _counter((name, "bytes"), HOST, seconds, size)


# -- events ----------------------------------------------------------------------------------------------


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _slice(
    track: Track, category: str, name: str, times: tuple[float, float], args: Mapping[str, Any] | None = None
) -> Event:
    begin, end = map(_microseconds, times)
    return {
        "ph": "X", "cat": category, "name": name, **track._asdict(), "ts": begin,
        "dur": round(end - begin, 3), "args": args or {},
    }  # fmt: skip


def _arrow(ph: str, index: int, track: Track, seconds: float) -> Event:
    """Return one end of the arrow from a launch (`s`) to its kernel (`f`), as PyTorch's profiler has it."""
    event = {
        "ph": ph,
        "id": index,
        **track._asdict(),
        "ts": _microseconds(seconds),
        "cat": "ac2g",
        "name": "ac2g",
    }
    return event | ({"bp": "e"} if ph == "f" else {})


def _counter(name: tuple[str, str], pid: int, seconds: float, value: int) -> Event:
    """Return a value from then on; Perfetto shows both parts of the name as one."""
    at, (what, unit) = _microseconds(seconds), name
    return {"ph": "C", "name": what, "pid": pid, "tid": 0, "ts": at, "args": {unit: value}}


def _names(gpu: str, host: str) -> Iterator[Event]:
    """Yield what processes and tracks are called, in the order in which they are shown."""
    processes = ((HOST, f"host, predicted: {host}", "CPU"), (GPU, f"{gpu}, predicted", "GPU 0"))
    for place, (pid, name, label) in enumerate(processes):
        yield _about("process_name", Track(pid, 0), {"name": name})
        yield _about("process_labels", Track(pid, 0), {"labels": label})
        yield _about("process_sort_index", Track(pid, 0), {"sort_index": place})
    tracks = (
        (MAIN, "main thread: forward pass, optimizer"),
        (AUTOGRAD, "autograd thread: backward pass"),
        (COMPONENTS, "phase and component"),
        (STREAM, f"stream {STREAM.tid}"),
    )
    for place, (track, name) in enumerate(tracks):
        yield _about("thread_name", track, {"name": name})
        yield _about("thread_sort_index", track, {"sort_index": place})


def _about(name: str, track: Track, args: Mapping[str, str | int]) -> Event:
    return {"ph": "M", "name": name, **track._asdict(), "ts": 0, "args": args}
