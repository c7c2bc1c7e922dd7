"""A training step of next to no arithmetic, built of what ACT is built of: what it takes is the host's time.

Layers of attention, layer norm and dropout as ACT's, convolutions with batch norms that are frozen, clipping
and AdamW on lists. On a GPU that is the time of Python, PyTorch, CUDA's libraries and the launches; on the
CPU the last two are left out. For each op ACT itself takes as long on the CPU, within 10 % forward and
backward (five runs of both on one machine).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from actprof.hardware.gpu import Gpu
from actprof.measuring.calibrate_probes import recorded
from actprof.policies.accelerator import PhaseContext, no_phase
from actprof.policies.facts import Parameter
from actprof.step_time.step import PlayedStep, play_step
from actprof.trace.fake import fake_cuda
from actprof.trace.recorder import Recorder
from actprof.trace.reverse import reverse_pass
from actprof.trace.saved_tensors import saving_tensors

PASSES = ("forward", "backward", "optimizer")
_WIDTH = 32
# Batch, channels and side of images: on the CPU as little as can be; on a GPU so that cuDNN converts layouts
# as it does for ACT, with 1.2 kernels for an op forward and 1.5 backward (ACT on an H100: 1.2 and 1.6).
_IMAGES = {"cpu": (1, 8, 4), "cuda": (8, 128, 14)}
_WARM_UP = 5


class _Layer(nn.Module):
    """A layer of ACT's encoder (`ACTEncoderLayer`)."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(_WIDTH, 4, dropout=0.1)
        self.wide, self.narrow = nn.Linear(_WIDTH, 2 * _WIDTH), nn.Linear(2 * _WIDTH, _WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))
        self.dropouts = nn.ModuleList(nn.Dropout(0.1) for _ in range(3))

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return what attention and two linear layers make of tokens, shape (tokens, batch, width)."""
        query = tokens + positions
        tokens = self.norms[0](tokens + self.dropouts[0](self.attention(query, query, value=tokens)[0]))
        wide = self.dropouts[1](nn.functional.relu(self.wide(tokens)))
        normed: Tensor = self.norms[1](tokens + self.dropouts[2](self.narrow(wide)))
        return normed


class _Block(nn.Module):
    """A block of a ResNet-18 whose batch norms are frozen."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(FrozenBatchNorm2d(channels) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of the same shape."""
        inside = nn.functional.relu(self.norms[0](self.first(image)), inplace=True)
        return nn.functional.relu(self.norms[1](self.second(inside)) + image, inplace=True)


class _Policy(nn.Module):
    """Two cameras through one backbone, then an encoder."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*[_Block(channels) for _ in range(4)])
        self.project = nn.Conv2d(channels, _WIDTH, 1)
        self.layers = nn.ModuleList(_Layer() for _ in range(6))
        self.head = nn.Linear(_WIDTH, 6)
        self.positions = nn.Parameter(torch.zeros(tokens, 1, _WIDTH))

    def forward(self, images: list[Tensor]) -> Tensor:
        """Return a number for each token and joint."""
        seen = [self.project(self.backbone(image)).flatten(2).permute(2, 0, 1) for image in images]
        tokens = torch.cat(seen)
        for layer in self.layers:
            tokens = layer(tokens, self.positions)
        moved: Tensor = self.head(tokens)
        return moved


class SmallStep:
    """The policy, its optimizer and one batch on a device."""

    def __init__(self, device: str) -> None:
        batch, channels, side = _IMAGES[device]
        tokens = 2 * side * side
        self.policy = _Policy(channels, tokens).to(device)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=1e-5, foreach=True)
        self._images = [torch.randn(batch, channels, side, side, device=device) for _ in range(2)]
        self._wanted = torch.zeros(tokens, batch, 6, device=device)

    def step(
        self, phase: PhaseContext = no_phase, backward: Callable[[Tensor], None] = torch.autograd.backward
    ) -> None:
        """Do one update."""
        with phase("forward"):
            loss = nn.functional.l1_loss(self.policy(self._images), self._wanted)
        with phase("backward"):
            backward(loss)
        with phase("optimizer"):
            nn.utils.clip_grad_norm_(self.policy.parameters(), 10.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What a trace keeps of its parameters."""
        return tuple(
            Parameter(path=path, component="", count=one.numel(), bytes=one.numel() * 4, trainable=True)
            for path, one in self.policy.named_parameters()
        )


class _Clock:
    """Seconds of the host by pass of one step after another."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time of a pass."""
        begun = self._now()
        yield
        self.seconds[name].append(self._now() - begun)


def seconds_of_passes(
    device: str,
    *,
    steps: int,
    now: Callable[[], float] = time.perf_counter,
    synchronize: Callable[[], object] = lambda: None,
) -> Mapping[str, float]:
    """Return the median seconds of the host for each pass of `steps` small steps, after some to warm up.

    Args:
        device: `cpu` or `cuda`.
        steps: that are timed.
        now: a clock, in seconds; that of the processor's work leaves out what other programs take.
        synchronize: waits for the device, before each step.
    """
    small, clock = SmallStep(device), _Clock(now)
    for _ in range(_WARM_UP + steps):
        synchronize()
        small.step(clock.phase)
    return {name: median(clock.seconds[name][_WARM_UP:]) for name in PASSES}


def play_small_step(gpu: Gpu) -> PlayedStep | None:
    """Return the small step as it is predicted on `gpu` with the default host; None as `play_step`."""
    recorder = Recorder("cuda")
    with fake_cuda(), recorder:
        with recorder.phase("setup"):
            small = SmallStep("cuda")
        for _ in range(2):  # AdamW's state comes with the first
            with recorder.phase("data"):
                pass
            with recorder.phase("update"), saving_tensors():
                small.step(recorder.phase, reverse_pass)
        recorder.stop()
    return play_step(recorded(recorder, small.parameters), 1, gpu)
