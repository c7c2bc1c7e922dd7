"""A `Grounding`: what the real policy did on the CPU, in one forward and backward through `update_policy`.

It is a plain record; torch is imported where one is made.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from actprof.cell import Cell
from actprof.errors import ActprofError
from actprof.policies import policy_spec
from actprof.policies.facts import PolicyFacts
from actprof.policies.libraries import missing_lerobot, missing_packages
from actprof.quiet import quiet_imports
from actprof.versions import library_versions

BATCH_SIZE = 2


class GroundingError(ActprofError):
    """A traced fact differs from what the real policy did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """One `update_policy` of one policy, resolution and camera count on the CPU; seconds are wall clock.

    `encoder_tokens` is read off the real encoder's input; `output_shape` is that of the predicted action
    chunk without the batch dimension; `parameters` counts elements.
    """

    policy: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    cameras: int
    resolution: str
    batch_size: int
    encoder_tokens: int
    output_shape: tuple[int, ...]
    parameters: int
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    torch_threads: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


def check_grounding(grounding: Grounding, traced: PolicyFacts) -> None:
    """Compare what was traced with what the real policy did.

    Raises:
        GroundingError: token counts, output shapes or parameter counts differ; names both.
    """
    pairs = {
        "encoder tokens": (grounding.encoder_tokens, traced.encoder_tokens),
        "output shape": (tuple(grounding.output_shape), tuple(traced.output_shape)),
        "parameters": (grounding.parameters, traced.parameter_count),
    }
    for name, (real, predicted) in pairs.items():
        if real != predicted:
            raise GroundingError(
                f"{grounding.policy} at {grounding.resolution}, cameras: {grounding.cameras}: the real run "
                f"has {name} {real}, the trace {predicted}; please report this"
            )


def why_not_on_cpu(policy: str) -> str:
    """Return why a policy is not run on the CPU, or nothing: it is too large, or cannot be built here."""
    spec = policy_spec(policy)
    if lacks := missing_lerobot():
        return lacks
    if spec.extra and (missing := missing_packages(spec.extra)):
        return f"{spec.title} needs {', '.join(missing)} (pip install 'lerobot[{spec.extra}]')"
    if spec.grounded:
        return ""
    return f"{spec.title} has billions of parameters, and a step of it takes a CPU minutes and much memory"


def ground(cell: Cell) -> Grounding:
    """Return what one `update_policy` of the cell's policy does on the CPU, at batch size 2.

    Raises:
        UsageError: lerobot refuses the policy's config.
    """
    import torch

    from actprof.policies.accelerator import StepAccelerator
    from actprof.policies.probe import Probe, policy_facts
    from actprof.policies.workload import build_workload

    cell = replace(cell, batch_size=BATCH_SIZE)
    clock = _PhaseClock()
    spec = policy_spec(cell.policy)
    accelerator = StepAccelerator(device_type="cpu", phase=clock.phase)
    with quiet_imports():
        workload = build_workload(cell, torch.device("cpu"), accelerator=accelerator)
        with Probe(workload.policy, spec) as probe:
            for _ in range(spec.steps - 1):  # until all but the optimizer's state is as in later steps
                clock.seconds.clear()
                workload.step(clock.phase)
    facts = policy_facts(workload.policy, spec, probe)
    return Grounding(
        policy=cell.policy,
        overrides=dict(cell.overrides),
        cameras=cell.cameras,
        resolution=cell.resolution,
        batch_size=cell.batch_size,
        encoder_tokens=facts.encoder_tokens,
        output_shape=facts.output_shape,
        parameters=facts.parameter_count,
        forward_seconds=clock.seconds["forward"],
        backward_seconds=clock.seconds["backward"],
        update_seconds=clock.seconds["update"],
        torch_threads=torch.get_num_threads(),
        versions=library_versions(),
    )


class _PhaseClock:
    """Wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
