"""The bytes that the kernels of one GPU take inside: of reductions by rule, of convolutions by asking cuDNN.

With `cudnn.benchmark` PyTorch times the first ten plans of each new convolution and keeps the fastest, so
nobody can say which that will be. cuDNN lists them by its own guess of their times; how often the plan at
each place of the list was the fastest has been measured (`_FASTEST`). The likely run takes the first;
`draw` asks for another run of the same command, in which each convolution draws its place, or for one in
which each takes the most (`MOST`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from actprof.cudnn import Architecture, Convolution, Plan, plans_for
from actprof.hardware import Gpu
from actprof.kernels.problem import Problem, buffers_of

# `torch.backends.cudnn.benchmark_limit`: so many plans are timed (`benchmarkLimitCuDNN` in ATen/Context.h).
BENCHMARK_LIMIT = 10
LIKELY, MOST = 0, -1


# Of a card of which only the memory is known: a GeForce of the Ampere generation.
_MULTIPROCESSORS, _THREADS = 82, 1536
_CLOCK_HZ, _MEMORY_CLOCK_HZ = 1.98e9, 2.619e9  # the H100's; where they count they are in the catalogue


def architecture_of(gpu: Gpu) -> Architecture:
    """Return what kernels depend on of a GPU; what the catalogue does not know is that of an RTX 3090."""
    return Architecture(
        compute_capability=gpu.compute_capability,
        multiprocessors=gpu.multiprocessors or _MULTIPROCESSORS,
        threads_per_multiprocessor=gpu.threads_per_multiprocessor or _THREADS,
        clock_khz=round((gpu.clock_hz or _CLOCK_HZ) / 1e3),
        memory_clock_khz=round((gpu.memory_clock_hz or _MEMORY_CLOCK_HZ) / 1e3),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """What decides how much the kernels of a run take inside.

    cuDNN's plans are chosen by time (`benchmark`, lerobot's default) or by their place
    (`--cudnn_deterministic`). `draw` is `LIKELY` or `MOST`; any other number is one of the many possible
    choices of plans.
    """

    architecture: Architecture
    benchmark: bool = True
    draw: int = LIKELY


def sizes_of(problem: Problem, kernels: Kernels) -> tuple[int, ...]:
    """Return the bytes of each part of a problem; 0 for one that is not needed."""
    if isinstance(problem, Convolution):
        return (chosen_workspace(problem, kernels),)
    return buffers_of(problem, kernels.architecture)


@lru_cache(maxsize=4096)
def chosen_workspace(problem: Convolution, kernels: Kernels) -> int:
    """Return the workspace of the plan that the run takes for `problem`."""
    if not kernels.benchmark:
        return _first(plans_for(problem, kernels.architecture, most=1, deterministic=True))
    if kernels.draw == LIKELY:
        return _first(plans_for(problem, kernels.architecture, most=1))
    plans = plans_for(problem, kernels.architecture, most=BENCHMARK_LIMIT)
    if kernels.draw == MOST:
        return max((plan.workspace_bytes for plan in plans), default=0)
    return plans[_place(problem, kernels.draw, len(plans))].workspace_bytes if plans else 0


def other_workspaces(problem: Convolution, kernels: Kernels) -> tuple[int, ...]:
    """Return the workspaces of the plans that are tried when the chosen one finds no room, in order."""
    plans = plans_for(problem, kernels.architecture, deterministic=not kernels.benchmark)
    return tuple(plan.workspace_bytes for plan in plans[1:])


def _first(plans: tuple[Plan, ...]) -> int:
    return plans[0].workspace_bytes if plans else 0


# Of 137 convolutions of ResNet-18 on one H100: how many had the fastest plan at each place of cuDNN's list
# (`reports/accuracy/h100/`).
_FASTEST = (65, 26, 15, 8, 4, 3, 4, 3, 8, 1)


def _place(problem: Convolution, draw: int, plans: int) -> int:
    """Return a place of the list, the same for the same problem and draw, as likely as it was fastest."""
    digest = hashlib.blake2b(repr((problem, draw)).encode(), digest_size=8).digest()
    sums = list(accumulate(_FASTEST[:plans]))
    wanted = int.from_bytes(digest) % sums[-1]
    return next(place for place, total in enumerate(sums) if wanted < total)
