"""What stands for the processes and the card around a `Run`: it starts none, and there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fake_gpu import FakeGpu, FakeWorkload

from actprof.hardware import LocalGpu
from actprof.measurement import CardUse
from actprof.measuring.choose_device import Choice
from actprof.measuring.request import Answer
from actprof.measuring.training_steps import summarise, take_steps
from actprof.units import GIB, MIB

CARD = LocalGpu(
    index=3, uuid="GPU-1", name="NVIDIA H100 80GB HBM3", total_bytes=80 * GIB, used_bytes=0,
    free_bytes=80 * GIB, driver="595.84",
)  # fmt: skip
WHOLE = Choice(type="cuda", gpu=CARD, reason="the only GPU")


class Watcher:
    """Stands for the watch of the card."""

    seen = CardUse(samples=9, process_bytes=95 * MIB, last_bytes=90 * MIB, others_bytes=10 * MIB)

    def __init__(self, index, pid_of):
        self.index, self.pid_of, self.stopped = index, pid_of, False

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.pid = self.pid_of()

    def stop(self):
        self.stopped = True

    def use(self):
        return self.seen if self.stopped else None


class Launcher:
    """Runs requests on the fake GPU, in this process, and remembers them."""

    def __init__(self, total=1 << 30):
        self.total, self.requests, self.environments = total, [], []

    def __call__(self, request, conditions):
        self.requests.append(request)
        self.environments.append(conditions.environment)
        conditions.started(4711)
        gpu = FakeGpu(total_bytes=self.total, alloc_conf=request.cell.alloc_conf)
        gpu.prepare(cap_bytes=request.cap_bytes, cudnn_benchmark=True)
        taken = take_steps(
            replace(request, most_seconds=0.0), gpu, lambda _phase: FakeWorkload(gpu, request.cell.batch_size)
        )
        if request.snapshot:
            Path(request.snapshot).write_bytes(b"all of it")
        conditions.answered()
        return Answer(
            device=gpu.facts(), encoder_tokens=602, parameters=5, step_seconds=taken.spread("update"),
            measurement=summarise(taken, request, gpu), oom=taken.oom,
        )  # fmt: skip
