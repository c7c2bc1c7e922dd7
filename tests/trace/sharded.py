"""Sharded training steps, recorded on fake CUDA with one process, and really with two on the CPU.

The same program runs in both: `shard` of the project over a net and its optimizer, then steps. What differs
is the device, the process group (torch's fake one; gloo) and the engine (ours; PyTorch's own).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from processes import wait_until
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from actprof.cell import Cell
from actprof.policies.accelerator import StepAccelerator
from actprof.policies.fsdp import import_fsdp, leave_group, shard
from actprof.trace import record, recorder
from actprof.trace.fake import fake_cuda
from actprof.trace.fake_streams import fake_streams
from actprof.trace.model import PHASES
from actprof.trace.recorder import Recorder
from actprof.trace.reverse import reverse_pass
from actprof.trace.saved_tensors import saving_tensors

STEPS = 2
_GLOO = "gloo's"  # owner of its copies, which its threads let go of at any time


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(nn.functional.gelu(self.wide(self.norm(x))))


class Net(nn.Module):
    """Blocks between two linear layers; its loss is the mean of the squares."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.last = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x).pow(2).mean()


@dataclass(frozen=True)
class Seen:
    """What a recording saw.

    Attributes:
        phases: per stretch of one phase, its name and the bytes of each event, negative for a free.
        streams: of each allocation.
        live: bytes after each event.
    """

    phases: list[tuple[str, list[int]]]
    streams: list[int]
    live: list[int]

    def of(self, name: str) -> list[list[int]]:
        """Return the events of each stretch of that phase."""
        return [events for phase, events in self.phases if phase == name]

    def live_after(self, name: str) -> list[int]:
        """Return the bytes that are alive after each stretch of that phase."""
        totals, total = [], 0
        for phase, events in self.phases:
            total += sum(events)
            if phase == name:
                totals.append(total)
        return totals

    @property
    def peak(self) -> int:
        """The most bytes that are alive at once, from the first step on."""
        setup = sum(len(events) for _name, events in self.phases[:1])
        return max(self.live[setup:])


def seen(of: Recorder) -> Seen:
    """Return what a recorder has, without gloo's copies and what has bytes on a certain GPU alone."""
    sizes_of = [0 if of.owners.get(tensor) == _GLOO else size for tensor, size in enumerate(of.sizes)]
    starts = [*of.phase_starts, (len(of.events), -1)]
    phases, live, total = [], [], 0
    for (start, phase), (end, _next) in pairwise(starts):
        sizes = [(1 if e > 0 else -1) * sizes_of[abs(e) - 1] for e in of.events[start:end]]
        phases.append((PHASES[phase], [size for size in sizes if size]))
        for size in sizes:
            total += size
            live.append(total)
    return Seen(phases, of.streams, live)


def cell(*units: str, world_size: int = 2, **more: Any) -> Cell:
    """Return a cell of a sharded run with these units."""
    return Cell(strategy="fsdp", world_size=world_size, wrap_modules=units, **more)


class ReadingNet(Net):
    """Reads the weights of its blocks and does not call them, as pi0 does with its layers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block.narrow(block.wide(x))
        return self.last(x).pow(2).mean()


class TwoDtypes(Net):
    """Its last layer is in bf16."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__(blocks, width)
        self.last.weight = nn.Parameter(self.last.weight.to(torch.bfloat16))


def run(
    of: Cell,
    device: str,
    into: Recorder,
    *,
    net_of: type[Net] = Net,
    blocks: int = 4,
    width: int = 256,
    tokens: int = 32,
) -> None:
    """Train a sharded net for two steps."""

    def backward(loss: torch.Tensor) -> None:
        reverse_pass(loss) if device == "cuda" else _engine(loss)

    torch.manual_seed(0)
    accelerator = StepAccelerator(device_type=device, backward=backward, phase=into.phase)
    net = net_of(blocks, width).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), foreach=True)
    shard(of, net, optimizer, precision=of.precision)
    accelerator.prepare(net, optimizer, precision=of.precision)
    for _ in range(STEPS):
        for number in range(of.accumulate):
            with (
                saving_tensors() if device == "cuda" else ExitStack(),
                accelerator.accumulating(number, of.accumulate),
            ):
                with into.phase("data"):
                    batch = torch.randn(tokens, width, device=device)
                with accelerator.autocast():
                    loss = net.forward(batch)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(net.parameters(), 1.0)
                with into.phase("optimizer"):
                    optimizer.step()
                    optimizer.zero_grad()
                del loss
    into.stop()


def on_fake_cuda(of: Cell, **more: Any) -> Seen:
    """Record the program on fake CUDA, in this process."""
    import_fsdp()
    with ExitStack() as stack:
        stack.callback(leave_group)
        stack.enter_context(fake_cuda())
        stack.enter_context(fake_streams())
        into = stack.enter_context(Recorder("cuda"))
        run(of, "cuda", into, **more)
    return seen(into)


def on_two_processes(cells: list[Cell], where: str) -> list[Seen]:
    """Record the program of each cell on two processes with gloo; what the first of them saw."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, _second = pool.map(_real, [(rank, cells, where) for rank in range(2)], chunksize=1)
    return first


def _real(given: tuple[int, list[Cell], str]) -> list[Seen]:
    rank, cells, where = given
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    import_fsdp()
    try:
        with _settled_collectives():
            return [_record(of) for of in cells]
    finally:
        torch.distributed.destroy_process_group()


def _record(of: Cell) -> Seen:
    if of.overrides:
        return seen(record_policy(of, "cpu"))
    with Recorder("cpu") as into:
        run(of, "cpu", into)
    return seen(into)


def record_policy(of: Cell, device: str) -> Recorder:
    """Record lerobot's own steps of a policy, by PyTorch's own engine where they are real.

    What CUDA's kernels take inside is left out.
    """
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(recorder, "steps_inside", lambda *_: None))
        if device == "cpu":
            for name, by_engine in (("reverse_pass", _engine), ("saving_tensors", nullcontext)):
                stack.enter_context(mock.patch.object(record, name, by_engine))
        return record.record(of, device_type=device).recorder


def _engine(loss: torch.Tensor, **_callbacks: Any) -> None:
    loss.backward()


@contextmanager
def _settled_collectives() -> Iterator[None]:
    """Inside, gloo's copies are named, and a collective returns when its threads let go of the rest."""
    with ExitStack() as stack:
        for name in ("all_gather_into_tensor", "reduce_scatter_tensor"):
            settled = partial(_settled, getattr(torch.distributed, name))
            stack.enter_context(mock.patch.object(torch.distributed, name, settled))
        yield


def _settled(collective: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    (into,) = (mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Recorder))
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
    holders, before = _holders(tensors), len(into.sizes)
    work = collective(*args, **kwargs)
    assert wait_until(lambda: _holders(tensors) <= holders)
    into.owners |= dict.fromkeys(range(before, len(into.sizes)), _GLOO)
    return work


def _holders(tensors: list[torch.Tensor]) -> int:
    """Return how many hold the tensors and their storages."""
    storages = [torch._C._storage_Use_Count(tensor.untyped_storage()._cdata) for tensor in tensors]
    return sum(storages) + sum(tensor._use_count() for tensor in tensors)
