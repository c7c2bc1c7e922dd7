"""Traces made by hand, and cells whose trace is cached: predicting them needs neither torch nor lerobot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from actprof.cell import Cell
from actprof.hardware import Device, custom_gpu
from actprof.policies.facts import PolicyFacts
from actprof.trace.cache import save_trace
from actprof.trace.model import KINDS, PHASES, OpTable, TensorTable, Trace


@pytest.fixture
def make_trace() -> Callable[..., Trace]:
    """Build traces of a policy that multiplies one matrix; see `build_trace`."""
    return build_trace


@pytest.fixture
def seed(tmp_path_factory, monkeypatch) -> Callable[..., Cell]:
    """Return cells whose (hand-made) trace is cached, where no other test looks for the real one."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))

    def seeded(*, gpu: str | None = "RTX 3090", trace: Trace | None = None, **fields) -> Cell:
        cell = Cell(gpu=gpu, **{"overrides": {"chunk_size": 7}, **fields})
        save_trace(trace or build_trace(), cell)
        return cell

    return seeded


def build_trace(
    *, weights: int = 1 << 20, activation: int = 1 << 20, temporary: int = 1 << 19, blas: int = 1
) -> Trace:
    """Return a trace of two steps: an input, an activation and a temporary per sample; weights for good.

    Tensors: 0 weights; then per step: input, activation, temporary, gradient of the weights. The input of a
    step is freed when the next step's has arrived, as in lerobot's loop.
    """
    tensors: list[tuple[int, int, str, int]] = [(weights, 0, "parameters", 0)]
    ops: list[tuple[str, str, str, int]] = [("aten.empty.default", "", "setup", 0)]
    events, starts, updates = [1], [], []
    phases: list[tuple[int, str]] = [(0, "setup")]
    inputs: list[int] = []

    def allocate(size: tuple[int, int], kind: str, op: tuple[str, str, str, int]) -> int:
        ops.append(op)
        tensors.append((*size, kind, len(ops) - 1))
        events.append(len(tensors))
        return len(tensors)

    for _ in range(2):
        starts.append(len(events))
        phases.append((len(events), "data"))
        inputs.append(allocate((0, 4096), "inputs", ("aten._to_copy.default", "", "data", 0)))
        if len(inputs) > 1:
            events.append(-inputs[-2])
        updates.append(len(events))
        phases.append((len(events), "forward"))
        kept = allocate((0, activation), "activations", ("aten.mm.default", "model.encoder", "forward", blas))
        scratch = allocate(
            (0, temporary), "temporaries", ("aten.relu.default", "model.encoder", "forward", 0)
        )
        events.append(-scratch)
        phases.append((len(events), "backward"))
        gradient = allocate((weights, 0), "gradients", ("aten.mm.default", "model.encoder", "backward", blas))
        events.append(-kept)
        phases.append((len(events), "optimizer"))
        events.append(-gradient)
    return _assemble(
        tensors=tensors, ops=ops, events=events, starts=starts, updates=updates, phases=phases,
        inputs=tuple(t - 1 for t in inputs),
    )  # fmt: skip


def _assemble(*, tensors, ops, events, starts, updates, phases, inputs) -> Trace:
    def column(values):
        return np.array(list(values), dtype=np.int64)

    return Trace(
        key={"policy": "hand-made"},
        versions={},
        policy=PolicyFacts(
            parameters=(), encoder_tokens=7, output_shape=(1,), components=(("model.encoder", "encoder"),),
            other_component="other",
        ),
        tensors=TensorTable(
            constant=column(t[0] for t in tensors),
            per_sample=column(t[1] for t in tensors),
            kind=column(KINDS.index(t[2]) for t in tensors),
            op=column(t[3] for t in tensors),
            problem=column(-1 for _ in tensors),
            part=column(0 for _ in tensors),
            stream=column(0 for _ in tensors),
        ),
        ops=OpTable(
            names=tuple(op[0] for op in ops),
            modules=tuple(op[1] for op in ops),
            phase=column(PHASES.index(op[2]) for op in ops),
            blas=column(op[3] for op in ops),
            sync=np.zeros(len(ops), dtype=np.bool_),
            flops_constant=column(0 for _ in ops),
            flops_per_sample=column(0 for _ in ops),
            bytes_constant=column(0 for _ in ops),
            bytes_per_sample=column(0 for _ in ops),
        ),
        events=column(events),
        step_starts=tuple(starts),
        update_starts=tuple(updates),
        phase_starts=tuple((start, PHASES.index(name)) for start, name in phases),
        carried=((inputs[0], inputs[1]),),
        batch_sizes=(2, 3, 7),
    )  # fmt: skip


def make_device(capacity_bytes, *, context_bytes=0, used_by_others_bytes=0):
    """Return a device of which only the memory matters."""
    gpu = replace(custom_gpu(capacity_bytes), context_bytes=context_bytes)
    return Device(gpu, used_by_others_bytes)
