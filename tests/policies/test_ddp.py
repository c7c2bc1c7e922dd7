"""What DistributedDataParallel allocates, launches and makes of gradients, beside torch's own.

Torch's runs here on the CPU, in one process; on a GPU its allocations are those of
`tests/test_recordings.py`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from actprof.cell import Cell
from actprof.errors import TraceError
from actprof.policies.ddp import DataParallel
from actprof.trace.recorder import Recorder

MODES = [
    {},
    {"gradient_as_bucket_view": True},
    {"find_unused_parameters": False},
    {"find_unused_parameters": False, "gradient_as_bucket_view": True},
]
MiB = 2**20


class Net(torch.nn.Module):
    """A policy of several buckets, with buffers, a frozen layer and a weight that is not contiguous."""

    def __init__(self, *, unused=False):
        super().__init__()
        self.frozen = torch.nn.Linear(8, 8)
        self.frozen.requires_grad_(requires_grad=False)
        self.convolution = torch.nn.Conv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last)
        self.norm = torch.nn.BatchNorm2d(4)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(8, 512), torch.nn.Linear(512, 8192)])
        self.more = torch.nn.Linear(8192, 300)
        self.unused = torch.nn.Linear(5, 7) if unused else None

    def forward(self, images):
        """Return a loss, and what is logged of it."""
        x = self.norm(self.convolution(images)).mean(dim=1)
        x = self.frozen(x)
        for layer in self.layers:
            x = layer(x).tanh()
        loss = self.more(x).square().mean()
        return loss, {"loss": loss.detach(), "name": "l2", "part": loss * 2}


@pytest.fixture
def one_process():
    """A process group of one, as the recording's was."""
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    yield
    torch.distributed.destroy_process_group()


def trained(wrap, *, accumulate=1, **net):
    """Return allocations and frees by size, and gradients after each of three steps."""
    recorder = Recorder("cpu")
    gradients = []
    with recorder:
        torch.manual_seed(0)
        policy = Net(**net)
        forward, syncs = wrap(policy)
        set_up = len(recorder.events)
        images = torch.randn(2, 3, 8, 8)
        for _step in range(3):
            for number in range(accumulate):
                syncs(number == accumulate - 1)
                loss, _logged = forward(images)
                loss.backward()
                del loss, _logged
            gradients.append([None if p.grad is None else p.grad.clone() for p in policy.parameters()])
            for parameter in policy.parameters():
                parameter.grad = None
        recorder.stop()
    sizes = [recorder.sizes[abs(event) - 1] * (1 if event > 0 else -1) for event in recorder.events]
    return sizes[:set_up], sizes[set_up:], gradients


def by_torch(**settings):
    """Return how torch wraps a policy."""

    def wrap(policy):
        wrapped = DistributedDataParallel(policy, **{"find_unused_parameters": True, **settings})
        return wrapped, lambda now: setattr(wrapped, "require_backward_grad_sync", now)

    return wrap


def by_us(*, world_size=1, **settings):
    """Return how we do."""
    cell = Cell(strategy="ddp", world_size=world_size, **settings)

    def wrap(policy):
        now = [True]
        kept = DataParallel(cell, policy, lambda: now[0])
        return kept.forward, lambda syncs: now.__setitem__(0, syncs)

    return wrap


# Where the CPU is the device, what torch sends has a twin on the host; before the first flat copies, where it
# compares shapes, it allocates other things altogether: the recording has those of a GPU.
COPIES = [432, 26660816]  # of a weight that is channels last; of everything
TWINS = [
    ([40, 40], [40]),  # which of ten parameters are used
    ([44, 44, 8, 8, -8, -8, -44, -44], [44, 8, -8, -44]),  # the order in which gradients arrived
]


def without_twins(sizes):
    """Return allocations and frees as they are where device and host are two."""
    for there, here in TWINS:
        for place in range(len(sizes) - len(there) + 1):
            if sizes[place : place + len(there)] == there:
                sizes = [*sizes[:place], *here, *sizes[place + len(there) :]]
                break
    return sizes


def from_copies_on(sizes):
    """Return the set-up without its beginning."""
    return next(sizes[at:] for at in range(len(sizes)) if sizes[at : at + 2] == COPIES)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("settings", MODES, ids=str)
def test_it_does_what_torch_does(one_process, settings, accumulate):
    """Every allocation and free of set-up and steps in order, and every gradient."""
    torch_set_up, torch_steps, expected = trained(by_torch(**settings), accumulate=accumulate)
    set_up, steps, gradients = trained(by_us(**settings), accumulate=accumulate)

    torch_set_up, set_up = (from_copies_on(sizes) for sizes in (torch_set_up, set_up))
    assert without_twins(torch_set_up) == set_up
    assert without_twins(torch_steps) == steps
    assert_equal(expected, gradients)


def test_unused_parameters_have_no_gradient_where_somebody_looks_for_them(one_process):
    """As with torch."""
    _set_up, torch_steps, expected = trained(by_torch(), unused=True)
    _set_up, steps, gradients = trained(by_us(), unused=True)

    assert torch_steps == steps
    assert_equal(expected, gradients)


def test_unused_parameters_stop_the_second_step_where_nobody_looks(one_process):
    """As with torch; the message names one, and the setting."""
    with pytest.raises(RuntimeError, match="Expected to have finished reduction"):
        trained(by_torch(find_unused_parameters=False), unused=True)
    with pytest.raises(TraceError, match=r"unused\.weight has no gradient.*find-unused"):
        trained(by_us(find_unused_parameters=False), unused=True)


def test_gradients_are_divided_by_the_number_of_gpus():
    """Before they are added up."""
    _set_up, _steps, alone = trained(by_us())
    _set_up, _steps, of_four = trained(by_us(world_size=4))
    assert all(
        a is None or torch.allclose(a / 4, b)
        for one, other in zip(alone, of_four, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_one_trace_serves_any_number_of_gpus():
    """Sharding alone asks how many there are."""
    two = Cell(world_size=2)
    assert two.strategy == "ddp"
    assert two.trace_key() == replace(two, world_size=8).trace_key() != Cell().trace_key()
    sharded = Cell(world_size=2, strategy="fsdp")
    assert sharded.trace_key() != replace(sharded, world_size=8).trace_key()


def assert_equal(expected, gradients):
    for one, other in zip(expected, gradients, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a, b)
