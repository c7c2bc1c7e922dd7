"""Find the allocations that a recorded run made and its prediction does not have, or the other way round.

Both are sequences of requested bytes in order. What a kernel takes inside (a reduction's scratch space, a
convolution's workspace) shows up as recorded only, with the stack that asked for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actprof.allocator.program import Program, Workspaces, build_program
from actprof.allocator.recording import Recording
from actprof.trace.model import Trace

# After a difference both sequences agree again where so many requests in a row are equal ...
_IN_A_ROW = 6
# ... and that is looked for so far ahead.
_WINDOW = 400


@dataclass(frozen=True, slots=True)
class Request:
    """One allocation: requested bytes and who asked (op and module, or the frame of a stack)."""

    size_bytes: int
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """Allocations of one asker that one side has and the other has not.

    Attributes:
        side: `recorded` or `predicted`: who has them.
        who: asked for them.
        count: how many.
        size_bytes: all of them together.
        largest_bytes: the largest.
    """

    side: str
    who: str
    count: int
    size_bytes: int
    largest_bytes: int


def compare_allocations(predicted: Sequence[Request], recorded: Sequence[Request]) -> tuple[Unmatched, ...]:
    """Return what only one of two runs allocated, by asker, the largest sum first; nothing if they agree."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for side, request in _differences(predicted, recorded):
        found[side, request.who].append(request.size_bytes)
    rows = [
        Unmatched(side=side, who=who, count=len(sizes), size_bytes=sum(sizes), largest_bytes=max(sizes))
        for (side, who), sizes in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.size_bytes))


def _differences(predicted: Sequence[Request], recorded: Sequence[Request]) -> Iterator[tuple[str, Request]]:
    left = right = 0
    while left < len(predicted) and right < len(recorded):
        if predicted[left].size_bytes == recorded[right].size_bytes:
            left, right = left + 1, right + 1
            continue
        skip_left, skip_right = _resync(predicted, recorded, left, right)
        yield from (("predicted", request) for request in predicted[left : left + skip_left])
        yield from (("recorded", request) for request in recorded[right : right + skip_right])
        left, right = left + skip_left, right + skip_right
    yield from (("predicted", request) for request in predicted[left:])


def _resync(
    predicted: Sequence[Request], recorded: Sequence[Request], left: int, right: int
) -> tuple[int, int]:
    """Return how far to go on either side, together as little as possible, until both agree again."""
    for total in range(1, _WINDOW):
        for skip in range(total, -1, -1):
            if _agree(predicted, recorded, left + total - skip, right + skip):
                return total - skip, skip
    rest = len(predicted) - left
    return rest, min(rest, len(recorded) - right)  # a recording may go on: only some steps are predicted


def _agree(predicted: Sequence[Request], recorded: Sequence[Request], left: int, right: int) -> bool:
    ahead = min(_IN_A_ROW, len(predicted) - left, len(recorded) - right)
    return ahead > 0 and all(
        predicted[left + step].size_bytes == recorded[right + step].size_bytes for step in range(ahead)
    )


def predicted_requests(trace: Trace, batch_size: int, workspaces: Workspaces) -> list[Request]:
    """Return the allocations of a trace's set-up and steps, workspaces included."""
    program: Program = build_program(trace, workspaces)
    sizes = [*trace.tensors.requested_bytes(batch_size).tolist(), *program.workspace_sizes]
    rows = [*trace.tensors.op.tolist(), *program.workspace_ops]
    traced = len(trace.tensors.op)

    def who(tensor: int) -> str:
        if tensor >= traced:
            return "workspace"
        row = rows[tensor]
        return f"{trace.ops.names[row]} {trace.ops.modules[row]}".rstrip()

    return [Request(int(sizes[e - 1]), who(e - 1)) for e in program.events if e > 0]


def recorded_requests(recording: Recording) -> list[Request]:
    """Return the allocations of a recording, in order, each with the most telling frame of its stack."""
    return [
        Request(event.size_bytes, str(recording.stacks.asking_frame(event.stack) or ""))
        for event in recording.events
        if event.action == "alloc"
    ]
