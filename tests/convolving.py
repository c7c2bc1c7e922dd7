"""A convolution made by hand, with plans made by hand, in place of the products of a hand-made trace."""

from __future__ import annotations

from dataclasses import replace

from actprof.cudnn import Architecture, Convolution, Plan
from actprof.kernels.problem import GrowingProblem, take_apart
from actprof.replay import kernel_bytes
from actprof.replay.program import build_program
from actprof.units import MIB

CONVOLUTION = Convolution(
    kind="forward", dtype="float32", image=(2, 8, 4, 4), weight=(8, 8, 1, 1), output=(2, 8, 4, 4),
    image_strides=(128, 16, 4, 1), weight_strides=(8, 1, 1, 1), output_strides=(128, 16, 4, 1),
    padding=(0, 0), stride=(1, 1), dilation=(1, 1),
)  # fmt: skip
ARCHITECTURE = Architecture(
    compute_capability=(8, 6),
    multiprocessors=82,
    threads_per_multiprocessor=1536,
    clock_khz=1,
    memory_clock_khz=1,
)
PLANS = (
    Plan(1, 6 * MIB, deterministic=False),
    Plan(2, 3 * MIB, deterministic=True),
    Plan(3, 0, deterministic=True),
)


def with_plans(monkeypatch, plans=PLANS):
    """Let every convolution have these plans."""

    def listed(_problem, _architecture, *, most=None, deterministic=False):
        return tuple(plan for plan in plans if plan.deterministic or not deterministic)[:most]

    monkeypatch.setattr(kernel_bytes, "plans_for", listed)
    kernel_bytes.chosen_workspace.cache_clear()
    build_program.cache_clear()


def with_convolution(trace):
    """Make the temporaries of the forward passes (tensors 3 and 7) workspaces of one convolution."""
    form, numbers = take_apart(CONVOLUTION)
    tensors = trace.tensors
    problem, per_sample = tensors.problem.copy(), tensors.per_sample.copy()
    problem[[3, 7]], per_sample[[3, 7]] = 0, 0
    growing = GrowingProblem(form, numbers, (0,) * len(numbers))
    return replace(
        trace, problems=(growing,), tensors=replace(tensors, problem=problem, per_sample=per_sample)
    )
