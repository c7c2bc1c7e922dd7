"""What cuDNN's persistent kernels of compute capability 9.0 take to split sums, which it asks the driver for.

Engines 62, 65, 67, 68 and 71 keep as many thread blocks running as the device holds at once. Where the tiles
of the output do not fill them, the sum over K of the last ones is split: each part leaves a partial tile in
the workspace, and flags say which are there. cuDNN weighs the cycles of the main loop against those of
adding the parts up. With a device it asks the driver how many clusters of blocks are resident; without one it
takes 18 blocks. So what it says without a device is corrected by the difference between the two.

Found by asking cuDNN 9.19 without a device and comparing with what one H100 SXM5 answered: every workspace of
1,361 convolutions comes out (`reports/accuracy/h100/`). Cards differ in which multiprocessors are switched
off, so that another H100 may hold one or two clusters of three or more blocks more or fewer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, prod

from actprof.cudnn.ask import Plan
from actprof.cudnn.problem import Architecture, Convolution
from actprof.units import ceil_div

_CAPABILITY = (9, 0)
_ENGINES = (62, 65, 67, 68, 71)
# Types of knobs: tile, K of one step, whether sums may be split (0) or not, cluster in M and in N.
_TILE, _STEP, _WORKSPACE, _CLUSTER_M, _CLUSTER_N = 2, 13, 25, 27, 28
# Values of the tile knob: rows and columns of the output that one block computes.
_TILES = {
    0: (128, 128), 1: (128, 64), 2: (128, 32), 3: (256, 128), 4: (256, 64), 5: (64, 64), 6: (128, 256),
    7: (64, 128), 8: (64, 32), 9: (64, 256), 16: (256, 32), 18: (64, 192), 19: (128, 192), 20: (256, 96),
}  # fmt: skip
# Clusters of so many blocks that an H100 SXM5 holds at once, by its answers (cudaOccupancyMaxActiveClusters).
_H100_MULTIPROCESSORS = 132
_H100_CLUSTERS = {1: 132, 2: 66, 3: 39, 4: 30, 5: 22, 6: 17, 7: 15, 8: 15, 12: 7, 14: 7, 16: 7}
_BLOCKS_WITHOUT_DEVICE = 18
_COUNTER_BYTES = 131  # four that count tiles, and the room to align them to 128
_MORE_COUNTERS_BYTES = 28
# Bytes per cycle of the multiprocessors' clock, times that clock over the memory's; cycles of a round.
_READ, _WRITE = 64, 24
_ROUND_CYCLES, _ALL_AT_ONCE_CYCLES = 1005.4, 790
_MOST_SPLITS = 128
_LEAST_K, _LONG_K, _MANY_PARTS = 128, 1024, 8


@dataclass(frozen=True, slots=True)
class _Work:
    """Tiles of the output, steps over K of one tile, and K of a step."""

    tiles: int
    steps: int
    step: int


def with_split_sums(plan: Plan, problem: Convolution, architecture: Architecture) -> Plan:
    """Return `plan` with the workspace that it has on a device; other engines' are right already."""
    knobs = dict(plan.knobs)
    if (
        architecture.compute_capability != _CAPABILITY
        or plan.engine not in _ENGINES
        or not {_WORKSPACE, _CLUSTER_M} <= knobs.keys()
        or knobs[_TILE] not in _TILES
        or problem.image[1] != problem.weight[1]  # convolutions in groups are not known
    ):
        return plan
    cluster = knobs[_CLUSTER_M] * knobs[_CLUSTER_N]
    ratio = architecture.clock_khz / architecture.memory_clock_khz
    without_device = _BLOCKS_WITHOUT_DEVICE // cluster * cluster
    supposed, resident = (
        split_bytes(plan, problem, blocks, clock_ratio=ratio)
        for blocks in (without_device, _resident_blocks(cluster, architecture.multiprocessors))
    )
    return replace(plan, workspace_bytes=plan.workspace_bytes - supposed + resident)


def split_bytes(plan: Plan, problem: Convolution, blocks: int, *, clock_ratio: float) -> int:
    """Return what a plan takes beside copies of the tensors when so many blocks run at once.

    Args:
        plan: of one of the persistent engines.
        problem: that it solves.
        blocks: resident thread blocks, in whole clusters.
        clock_ratio: clock of the multiprocessors by that of the memory.
    """
    knobs = dict(plan.knobs)
    work = _work(problem, knobs)
    many = work.tiles > 2 * blocks
    splits, split = (1, 0) if knobs[_WORKSPACE] else _Choice(plan, problem, work, blocks, clock_ratio).best()
    if splits == 1:
        return _COUNTER_BYTES if many else 0
    rows, columns = _TILES[knobs[_TILE]]
    flags = 4 * split * _flags(splits) + _COUNTER_BYTES + _MORE_COUNTERS_BYTES + (4 if many else 0)
    return splits * split * rows * columns * 4 + flags


def _resident_blocks(cluster: int, multiprocessors: int) -> int:
    """Return the blocks that run at once: as known of an H100, else as if no cluster missed its place."""
    known = _H100_CLUSTERS if multiprocessors == _H100_MULTIPROCESSORS else {}
    return known.get(cluster, multiprocessors // cluster) * cluster


def _flags(splits: int) -> int:
    """Return the flags of one split tile: one for each sum of two, in each round of adding."""
    count = 0
    while splits > 1:
        splits = ceil_div(splits, 2)
        count += splits
    return count


def _work(problem: Convolution, knobs: dict[int, int]) -> _Work:
    rows, columns = _TILES[knobs[_TILE]]
    image, weight, output = problem.image, problem.weight, problem.output
    taps = prod(weight[2:])
    step = 32 if problem.dtype == "float32" else 32 << knobs[_STEP]
    if problem.kind == "weight":
        down, across = ceil_div(weight[0], rows), ceil_div(weight[1], columns) * taps
        steps = ceil_div(output[0] * prod(output[2:]), step)
    else:
        made, inner, outer = (
            (output, weight[1], weight[0]) if problem.kind == "forward" else (image, weight[0], weight[1])
        )
        down, across = ceil_div(made[0] * prod(made[2:]), rows), ceil_div(outer, columns)
        steps = ceil_div(inner, step) * taps
    in_m, in_n = knobs[_CLUSTER_M], knobs[_CLUSTER_N]
    return _Work(ceil_div(down, in_m) * in_m * ceil_div(across, in_n) * in_n, steps, step)


class _Choice:
    """cuDNN's choice of how often the sum of a tile is split, by a model of cycles."""

    def __init__(
        self, plan: Plan, problem: Convolution, work: _Work, blocks: int, clock_ratio: float
    ) -> None:
        tile = dict(plan.knobs)[_TILE]
        rows, columns = _TILES[tile]
        size = rows * columns * 4
        self._work, self._blocks = work, blocks
        self._read, self._write = (max(floor(rate / clock_ratio + 1e-6), 1) for rate in (_READ, _WRITE))
        # The model gives bf16 eight times the rate of the others, but where engine 67 goes forward.
        slow = problem.dtype != "bfloat16" or (plan.engine, problem.kind) == (67, "forward")
        self._whole = rows * columns * work.step / (2048 if slow else 16384)
        dearer = tile == 1 and work.step == 32 and plan.engine != 71
        self._part = self._whole * 1.1 if dearer else self._whole
        self._size = size
        self._store = ceil_div(size, self._write)
        self._round = _ROUND_CYCLES + ceil_div(size, self._read) + self._store

    def best(self) -> tuple[int, int]:
        """Return (parts of a split tile, tiles that are split); (1, 0) for none."""
        work, blocks = self._work, self._blocks
        split = work.tiles % blocks if work.tiles > blocks else work.tiles  # whole waves are never split
        if not split:
            return 1, 0
        cost = self._in_one_wave if work.tiles <= blocks else self._after_whole_waves
        best, lowest = 1, work.steps * self._whole if work.tiles <= blocks else float(work.steps)
        for splits in range(2, min(blocks // split, _MOST_SPLITS) + 1):
            if work.steps * work.step < _LEAST_K * splits:
                break
            cycles = cost(splits)
            if cycles < lowest:
                best, lowest = splits, cycles
        return best, split

    def _in_one_wave(self, splits: int) -> float:
        work = self._work
        longest = ceil_div(work.steps, splits) * self._part
        cycles = longest + _rounds(splits) * self._round
        if splits > _MANY_PARTS and work.steps // splits * work.step > _LONG_K:
            at_once = _ALL_AT_ONCE_CYCLES + 2 * ceil_div(self._size, self._read)
            cycles = min(cycles, longest + at_once + ceil_div(self._size, splits * self._write))
        return cycles

    def _after_whole_waves(self, splits: int) -> float:
        """Return the steps of the longest part; without end where adding up does not hide behind the loop."""
        work = self._work
        waves, longest, rounds = work.tiles // self._blocks, ceil_div(work.steps, splits), _rounds(splits)
        half = 1 << (rounds - 1)
        hidden = self._part * (work.steps + ceil_div(max(0, work.steps - half * longest), half))
        gain = (waves + 1) * work.steps * self._whole - (waves * work.steps + longest) * self._part
        most = min(hidden, gain + work.steps * self._part) + 1e-6
        return float(longest) if gain > 0 and rounds * self._round + self._store <= most else float("inf")


def _rounds(splits: int) -> int:
    """Return in how many rounds the parts of one tile are added, two and two."""
    return (splits - 1).bit_length()
