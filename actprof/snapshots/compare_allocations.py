"""Find the allocations that a recorded run made and its prediction does not have, or the other way round.

Both are sequences of requested bytes in order. What a kernel takes inside (a reduction's scratch space, a
convolution's workspace) shows up as recorded only, with the stack that asked for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from actprof.replay.program import WORKSPACE_KIND, Program
from actprof.snapshots.recording import Recording
from actprof.trace.model import Trace

_WORTH = 20  # so many requests that are on one side only does one in common outweigh, at the end


@dataclass(frozen=True, slots=True)
class Request:
    """One allocation: requested bytes and who asked (op and module, or the frame of a stack)."""

    size_bytes: int
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """Allocations of one asker that one side (`recorded` or `predicted`) has and the other has not."""

    side: str
    who: str
    count: int
    size_bytes: int
    largest_bytes: int


def compare_allocations(
    predicted: Sequence[Request], recorded: Sequence[Request], *, cut_off: bool = False
) -> tuple[Unmatched, ...]:
    """Return what only one of two runs allocated, by asker, the largest sum first; nothing if they agree.

    As few requests as possible are left over (a longest common subsequence of the sizes). What a recording
    goes on with does not count: only some steps are predicted. Nor does, with `cut_off`, what a prediction
    goes on with: that of a recording that ran out of memory.
    """
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for side, request in _differences(predicted, recorded, cut_off=cut_off):
        found[side, request.who].append(request.size_bytes)
    rows = [
        Unmatched(side=side, who=who, count=len(sizes), size_bytes=sum(sizes), largest_bytes=max(sizes))
        for (side, who), sizes in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.size_bytes))


def _differences(
    predicted: Sequence[Request], recorded: Sequence[Request], *, cut_off: bool
) -> Iterator[tuple[str, Request]]:
    """Yield (side, request) of what is on one side only, the last first."""
    rows = _common(predicted, recorded)
    left, right = _ends(rows, len(recorded), cut_off=cut_off)
    while left and right:
        if _is_set(rows[left], right):  # the last one recorded adds nothing that is common
            right -= 1
            yield "recorded", _named(recorded[right], predicted[left - 1])
        elif not _is_set(rows[left - 1], right):  # nor does the last one predicted
            left -= 1
            yield "predicted", predicted[left]
        else:
            left, right = left - 1, right - 1
    yield from (("predicted", request) for request in predicted[:left])
    yield from (("recorded", request) for request in recorded[:right])


def _named(request: Request, before: Request) -> Request:
    """Return a recorded request; one without frames (the reverse pass is C++) by what comes before it."""
    return request if request.who else replace(request, who=f"after {before.who}")


def _common(predicted: Sequence[Request], recorded: Sequence[Request]) -> list[int]:
    """Return for each beginning of `predicted` how much of each beginning of `recorded` it has in common.

    A row is a whole number: the zeros among its lowest n bits are the length of the longest common
    subsequence with the first n recorded requests (Crochemore et al., "A fast and practical bit-vector
    algorithm for the longest common subsequence problem", 2001).
    """
    places: dict[int, int] = defaultdict(int)
    for place, request in enumerate(recorded):
        places[request.size_bytes] |= 1 << place
    every = (1 << len(recorded)) - 1
    rows = [every]
    for request in predicted:
        row = rows[-1]
        hits = row & places.get(request.size_bytes, 0)
        rows.append(((row + hits) | (row - hits)) & every)
    return rows


def _ends(rows: Sequence[int], recorded: int, *, cut_off: bool) -> tuple[int, int]:
    """Return how much of either side is compared: no more than has something in common with the other.

    One more request in common is worth going on for, unless it comes after many that are not.
    """
    predicted = len(rows) - 1
    if rows[-1].bit_count() == recorded:  # they have nothing in common
        return predicted, recorded
    if cut_off:
        common = [recorded - row.bit_count() for row in rows]
        return _last_lowest(left - _WORTH * had for left, had in enumerate(common)), recorded
    steps = (1 if _is_set(rows[-1], place) else 1 - _WORTH for place in range(1, recorded + 1))
    return predicted, _last_lowest(accumulate(steps, initial=0))


def _last_lowest(values: Iterable[int]) -> int:
    return min((value, -index) for index, value in enumerate(values))[1] * -1


def _is_set(row: int, place: int) -> bool:
    return bool(row >> (place - 1) & 1)


def predicted_requests(trace: Trace, program: Program) -> list[Request]:
    """Return the allocations of a trace's set-up and steps as `program` has them, workspaces included."""

    def who(tensor: int) -> str:
        row = program.ops[tensor]
        place = f"{trace.ops.names[row]} {trace.ops.modules[row]}".rstrip()
        return f"workspace of {place}" if program.kinds[tensor] == WORKSPACE_KIND else place

    return [Request(program.sizes[event - 1], who(event - 1)) for event in program.events if event > 0]


def recorded_requests(recording: Recording) -> list[Request]:
    """Return the allocations of a recording, in order, each with the most telling frame of its stack."""
    return [
        Request(event.size_bytes, str(recording.stacks.asking_frame(event.stack) or ""))
        for event in recording.events
        if event.action == "alloc"
    ]


def ran_out(recording: Recording) -> bool:
    """Return whether a recording ends where memory did: nothing was allocated after a request was refused.

    A plan of cuDNN's that finds no room is refused too, but the run goes on.
    """
    last = next((e.action for e in reversed(recording.events) if e.action in ("alloc", "oom")), "")
    return last == "oom"
