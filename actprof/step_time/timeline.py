"""A played step as people look at it: the phase and component of each launch, when host and device are at it.

Neighbours that are of the same thing are spans; the memory of the step goes with the host's time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from actprof.hardware.gpu import Gpu
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import Program
from actprof.step_time.kernel import CONVOLUTION, Kernel
from actprof.step_time.kernel_time import KernelTime, card_of
from actprof.step_time.predict import components_of
from actprof.step_time.step import PlayedStep
from actprof.trace.model import PHASES, Trace, TraceDetails

_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTimeline:
    """A played step with what it is of; times in seconds from its start.

    Attributes:
        step, trace, batch_size, gpu: that was played, of what, at which batch size, and where.
        details: the trace's.
        phases, components: of each launch; `optimizer` is the component of what the optimizer does.
        begins, ends: of the host's work on each launch. It begins with the next one at once, so its waits
            for a value, or for room in the queue, count with the launch before.
    """

    step: PlayedStep
    trace: Trace
    batch_size: int
    gpu: Gpu
    details: TraceDetails
    phases: tuple[str, ...]
    components: tuple[str, ...]
    begins: tuple[float, ...]
    ends: tuple[float, ...]

    def kernel_name(self, kernel: Kernel) -> str:
        """Return the kind of a kernel; of a product also its sizes, dtype, and how its operands lie."""
        product, card = kernel.product, card_of(self.gpu)
        if product is None:
            return kernel.kind
        dtype = _DTYPES.get(kernel.dtype, kernel.dtype)
        if dtype == "fp32" and card is not None and card.tf32:
            dtype = "tf32"
        sizes = f"{product.rows}x{product.columns}x{product.depth}"
        batch = f"{product.batch}x " if product.batch > 1 else ""
        engine = f" {kernel.engine}" if kernel.kind == CONVOLUTION else ""
        return f"{kernel.kind} {batch}{sizes} {dtype} {product.layout}{engine}"


def timeline_of(step: PlayedStep, trace: Trace, batch_size: int, gpu: Gpu) -> StepTimeline:
    """Return the timeline of a step of `trace` that was played at `batch_size` on `gpu`."""
    played, ops = step.played, trace.ops
    begins = (played.launched - np.array([launch.host for launch in step.launches])).tolist()
    end = float(played.launched[-1])
    if step.launches[-1].waits:
        end = max(end, float(played.ended[-1])) + step.host.wait
    return StepTimeline(
        step=step,
        trace=trace,
        batch_size=batch_size,
        gpu=gpu,
        details=trace.details(),
        phases=tuple(PHASES[int(ops.phase[row])] for row in step.rows),
        components=components_of(step, trace),
        begins=tuple(begins),
        ends=(*begins[1:], end),
    )


def bound_by(time: KernelTime) -> str:
    """Return what a kernel takes longest with."""
    if time.least >= max(time.arithmetic, time.traffic):
        return "fixed cost"
    return "arithmetic" if time.is_arithmetic else "memory bandwidth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of neighbours of which `label` holds: from index `first` to index `last`."""

    label: tuple[str, ...]
    first: int
    last: int


def nested(labels: Sequence[tuple[str, ...]]) -> Iterator[Span]:
    """Yield a span for every stretch of neighbours whose labels begin alike, outer ones before inner ones.

    A label has names from the outermost to the innermost.
    """
    yield from _within(labels, range(len(labels)), 0)


def _within(labels: Sequence[tuple[str, ...]], indices: Sequence[int], depth: int) -> Iterator[Span]:
    for name, run in groupby(indices, lambda index: labels[index][depth : depth + 1]):
        if name:
            members = list(run)
            first, last = members[0], members[-1]
            yield Span(label=labels[first][: depth + 1], first=first, last=last)
            yield from _within(labels, members, depth + 1)


def memory_course(
    timeline: StepTimeline, profile: MemoryProfile, program: Program
) -> list[tuple[float, int, int]]:
    """Return (seconds, allocated bytes, reserved bytes) wherever the memory of the last step changes.

    The allocator works when the host does: what an op takes is taken when its first launch begins, and what
    is freed after it when the host is done with it. Of what happens at once, the highest point comes first.

    Args:
        timeline: of the step.
        profile: of a replay with `detail=True` that got through.
        program: that was replayed.

    Raises:
        ValueError: the profile has no detail, or ran out of memory.
    """
    known = profile.timeline
    if known is None or profile.oom is not None:
        raise ValueError("the memory of a step is told of a replay with detail that gets through")
    rows, freed_by = np.array(timeline.step.rows), timeline.details.freed_by
    course: dict[float, list[tuple[int, int]]] = {}
    now, first = 0.0, known.step_starts[-1]
    sizes = zip(known.allocated[first:].tolist(), known.reserved[first:].tolist(), strict=True)
    for event, size in zip(program.events[program.step_starts[-1] :], sizes, strict=True):
        tensor = abs(event) - 1
        if event > 0:
            at = int(np.searchsorted(rows, program.ops[tensor]))
            now = max(now, timeline.begins[at] if at < len(rows) else timeline.ends[-1])
        elif tensor < len(freed_by) and (at := int(np.searchsorted(rows, freed_by[tensor], "right"))):
            now = max(now, timeline.ends[at - 1])
        course.setdefault(now, []).append(size)
    return [(now, *size) for now, sizes in course.items() for size in dict.fromkeys((max(sizes), sizes[-1]))]
