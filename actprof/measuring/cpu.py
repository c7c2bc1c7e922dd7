"""Run the real policy on the CPU with real tensors: one forward and backward through `update_policy`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from actprof.cell import Cell
from actprof.measuring.grounding import Grounding
from actprof.policies import policy_spec
from actprof.policies.accelerator import StepAccelerator
from actprof.policies.probe import Probe, policy_facts
from actprof.policies.workload import build_workload
from actprof.quiet import quiet_imports
from actprof.versions import library_versions

BATCH_SIZE = 2


def ground(cell: Cell) -> Grounding:
    """Return what one `update_policy` of the cell's policy does on the CPU, at batch size 2.

    Raises:
        UsageError: lerobot refuses the policy's config.
    """
    cell = replace(cell, batch_size=BATCH_SIZE)
    clock = _PhaseClock()
    spec = policy_spec(cell.policy)
    accelerator = StepAccelerator(device_type="cpu", phase=clock.phase)
    with quiet_imports():
        workload = build_workload(cell, torch.device("cpu"), accelerator=accelerator)
        with Probe(workload.policy, spec) as probe:
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
