"""The optimizer `adamw_8bit`: `AdamW8bit` of bitsandbytes where the preset's Adam or AdamW would be.

On a GPU it is bitsandbytes' own. Where there is none, a stand-in keeps the state that
`bitsandbytes/optim/optimizer.py` (`Optimizer2State`, 0.50) keeps: two bytes an element, and a float32 maximum
of each block of 256 for each of the two; 32 bits for parameters of fewer than 4096 elements; two tables of
256 figures that all share. A kernel updates one parameter, and takes nothing inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from importlib import import_module
from typing import Any
from unittest import mock

import torch
from torch._subclasses import FakeTensor

from actprof.errors import UsageError
from actprof.units import ceil_div

_LEAST_8_BIT, _BLOCK, _TABLE = 4096, 256, 256


class EightBitAdamW(torch.optim.Optimizer):
    """Takes the memory that bitsandbytes' `AdamW8bit` takes, and the traffic; its figures mean nothing."""

    def __init__(self, params: Any, *, lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, {"lr": lr, **options})
        self._tables = [torch.zeros(_TABLE, device="cpu") for _ in range(2)]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient, one after another."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    if not self.state[parameter]:
                        self._begin(parameter)
                    self._update(parameter, group["lr"])
        return loss

    def _begin(self, parameter: torch.Tensor) -> None:
        state, device = self.state[parameter], parameter.device
        small = parameter.numel() < _LEAST_8_BIT
        if not small:
            self._tables = [table.to(device) for table in self._tables]
        for number, table in enumerate(self._tables, start=1):
            dtype = torch.float32 if small else torch.uint8
            state[f"state{number}"] = torch.zeros_like(parameter, dtype=dtype)
            if not small:
                state[f"qmap{number}"] = table
        if not small:
            blocks = ceil_div(parameter.numel(), _BLOCK)
            for number in (1, 2):
                state[f"absmax{number}"] = torch.zeros(blocks, device=device)

    def _update(self, parameter: torch.Tensor, lr: float) -> None:
        state = self.state[parameter]
        for first, second in (("state1", "state2"), ("absmax1", "absmax2")):
            if first in state:
                state[first].add_(state[second])
        parameter.add_(parameter.grad, alpha=-lr)  # type: ignore[arg-type]


def build_8_bit(preset: Any, parameters: Any) -> torch.optim.Optimizer:
    """Return what a preset of lerobot builds of `parameters`, with 8 bits instead of Adam's 32.

    Raises:
        UsageError: bitsandbytes is missing on a real GPU, or the preset is no Adam.
    """
    made: list[torch.optim.Optimizer] = []

    def build(params: Iterable[Any], **options: Any) -> torch.optim.Optimizer:
        groups = list(params)
        first = groups[0]["params"][0] if isinstance(groups[0], dict) else groups[0]
        on_gpu = first.device.type == "cuda" and not isinstance(first, FakeTensor)
        made.append((_bitsandbytes() if on_gpu else EightBitAdamW)(groups, **options))
        return made[-1]

    with ExitStack() as stack:
        for name in ("Adam", "AdamW"):
            stack.enter_context(mock.patch.object(torch.optim, name, build))
        optimizer: torch.optim.Optimizer = preset.build(parameters)
    if optimizer not in made:
        raise UsageError(f"adamw_8bit stands for Adam or AdamW, and this policy's preset is {preset.type}")
    return optimizer


def _bitsandbytes() -> Any:
    try:
        return import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise UsageError("adamw_8bit needs bitsandbytes on a GPU: uv pip install bitsandbytes") from error
