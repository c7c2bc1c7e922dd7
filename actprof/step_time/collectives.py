"""What several GPUs of a run wait for each other, in seconds of a step: under DDP, and under FSDP.

FSDP gathers the parameters of a unit before that is computed, and sums up its gradients after; both go on a
stream of their own, one after another, while the compute stream goes on with what it has. The host runs
ahead and asks for them early. Of N GPUs each sends and receives (N - 1) / N of what all have together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from actprof.step_time.all_reduce import Link, ddp_seconds
from actprof.step_time.step import OPTIMIZER, PlayedStep, update_rows
from actprof.trace.model import Trace

_GATHERS = "allgather"


class Collective(NamedTuple):
    """One of FSDP's: the row of its op, its seconds, and whether what is computed next needs its result."""

    row: int
    seconds: float
    is_gathered: bool


def waiting_seconds(step: PlayedStep, trace: Trace, batch_size: int, *, gpus: int, link: Link) -> float:
    """Return for how many seconds a step on so many GPUs waits for the others."""
    if trace.key.get("strategy") != "fsdp":
        return ddp_seconds(step, trace, batch_size, gpus=gpus, link=link) - step.played.seconds
    found = [
        Collective(row, link.latency + (gpus - 1) / gpus * size / link.bandwidth, _GATHERS in name)
        for row, name, size in _collectives(trace, batch_size)
    ]
    update = [place for place, row in enumerate(step.rows) if trace.ops.phase[row] == OPTIMIZER]
    return stall(step, found, first_of_optimizer=update[0] if update else len(step.rows))


def sent_bytes(trace: Trace, batch_size: int) -> int:
    """Return how much FSDP's collectives of a step move, by what all GPUs have of it together."""
    return sum(size for _row, _name, size in _collectives(trace, batch_size))


def _collectives(trace: Trace, batch_size: int) -> list[tuple[int, str, int]]:
    """Return row, name and bytes of each collective of the last update."""
    sizes = trace.ops.bytes_constant + trace.ops.bytes_per_sample * batch_size
    rows = ((row, trace.ops.names[row]) for row in update_rows(trace).tolist())
    return [(row, name, int(sizes[row])) for row, name in rows if name.startswith("c10d.")]


def stall(step: PlayedStep, collectives: Iterable[Collective], *, first_of_optimizer: int) -> float:
    """Return by how much the compute stream falls behind, waiting for `collectives`.

    The optimizer, from that launch on, waits for all of them.
    """
    rows, played = np.array(step.rows), step.played
    behind, through = 0.0, 0.0
    for row, seconds, is_gathered in collectives:
        place = int(np.searchsorted(rows, row))  # of the launch that follows
        ready = float(played.ended[place - 1]) + behind if place and not is_gathered else 0.0
        asked = float(played.launched[place - 1]) if place else 0.0
        through = max(through, ready, asked) + seconds
        if is_gathered and place < len(rows):
            behind = max(behind, through - float(played.began[place]))
    end = played.began[first_of_optimizer] if first_of_optimizer < len(rows) else played.ended[-1]
    return max(behind, through - float(end), 0.0)
