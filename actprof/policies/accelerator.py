"""Stands where `update_policy` expects accelerate's `Accelerator`, on one device in one process.

It does what `accelerate.Accelerator` does there (autocast, loss scaling for fp16, clipping) with one
difference: how gradients are computed is handed in, so that a trace can walk the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.amp.grad_scaler import GradScaler

_SHARDED = "set_requires_gradient_sync"  # what FSDP2 gives a policy
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def _engine_backward(loss: torch.Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


PhaseContext = Callable[[str], AbstractContextManager[None]]


def no_phase(_name: str) -> AbstractContextManager[None]:
    """Stand where nobody asks which phase it is."""
    return nullcontext()


class StepAccelerator:
    """Autocast, backward and gradient clipping of one training step.

    Args:
        device_type: `cuda` or `cpu`.
        backward: computes the gradients of a scalar loss; the C++ engine by default.
        phase: context that is entered for `forward`, `backward` and `optimizer`.
    """

    def __init__(
        self,
        *,
        device_type: str,
        backward: Callable[[torch.Tensor], None] = _engine_backward,
        phase: PhaseContext = no_phase,
    ) -> None:
        self._device_type = device_type
        self._backward = backward
        self._phase = phase
        self._autocast_dtype: torch.dtype | None = None
        self._scaler: GradScaler | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._accumulate = 1
        self._syncs = True
        self._reduce_gradients: Callable[[bool], None] = lambda _reduce: None

    def prepare(self, policy: Any, optimizer: torch.optim.Optimizer, *, precision: str) -> None:
        """Arrange mixed precision as `Accelerator.prepare` does: outputs in fp32, a scaler for fp16."""
        self._optimizer = optimizer
        self._reduce_gradients = getattr(policy, _SHARDED, self._reduce_gradients)
        if precision == "fp32":
            return
        from accelerate.utils.operations import ConvertOutputsToFp32

        self._autocast_dtype = _DTYPES[precision]
        if not hasattr(policy, _SHARDED):  # FSDP2 casts on its own
            policy.forward = ConvertOutputsToFp32(policy.forward)
        if precision == "fp16":
            self._scaler = _SteppingScaler(optimizer, self._device_type)

    @contextmanager
    def accumulating(self, batch: int, of: int) -> Iterator[None]:
        """Inside, a step is for batch number `batch` of `of`: only the last is clipped and moves weights.

        So do accelerate's `accumulate` and `AcceleratedOptimizer` from lerobot 0.6.2 on.
        """
        self._accumulate, self._syncs = of, batch == of - 1
        self._reduce_gradients(self._syncs)
        with ExitStack() as stack:
            for name in () if self._syncs else ("step", "zero_grad"):
                stack.enter_context(mock.patch.object(self._optimizer, name, lambda *_, **__: None))
            yield

    @property
    def sync_gradients(self) -> bool:
        """Whether the gradients of this batch are the last of a step."""
        return self._syncs

    def accumulate(self, *_policies: Any) -> AbstractContextManager[None]:
        """Stand where lerobot opens a batch from 0.6.2 on: `accumulating` has arranged everything already."""
        return nullcontext()

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Run the forward pass in the precision that was asked for."""
        dtype = self._autocast_dtype
        with self._phase("forward"), nullcontext() if dtype is None else _autocast(self._device_type, dtype):
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients; like accelerate, divide by the number of accumulated batches first."""
        with self._phase("backward"):
            loss = loss / self._accumulate
            self._backward(loss if self._scaler is None else self._scaler.scale(loss))

    def clip_grad_norm_(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
        """Clip the gradients to `max_norm` and return their norm before."""
        if not self._syncs:
            return torch.zeros((), device="cpu")
        with self._phase("optimizer"):
            if self._scaler is not None and self._optimizer is not None:
                self._scaler.unscale_(self._optimizer)
            return torch.nn.utils.clip_grad_norm_(list(parameters), max_norm)

    def unwrap_model(self, policy: Any, **_options: Any) -> Any:
        """Return the policy: nothing wraps it in a single process."""
        return policy


@contextmanager
def _autocast(device_type: str, dtype: torch.dtype) -> Iterator[None]:
    # `torch.autocast("cuda")` switches itself off where there is no GPU; the switches below do not.
    enabled, before = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    torch.set_autocast_enabled(device_type, True)  # noqa: FBT003 - positional in torch
    torch.set_autocast_dtype(device_type, dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(device_type, enabled)
        torch.set_autocast_dtype(device_type, before)


class _SteppingScaler(GradScaler):
    """A gradient scaler that takes every step, as a settled run does: no gradient overflows.

    It replaces `optimizer.step`, as accelerate's wrapper does.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device_type: str) -> None:
        with mock.patch.object(torch.cuda, "is_available", lambda: True):
            super().__init__(device_type)
        step = optimizer.step

        def scaled_step(*_args: Any, **_kwargs: Any) -> None:
            optimizer.step = step  # type: ignore[method-assign]
            try:
                self.step(optimizer)
                self.update()
            finally:
                optimizer.step = scaled_step  # type: ignore[assignment, method-assign]

        optimizer.step = scaled_step  # type: ignore[assignment, method-assign]

    def _maybe_opt_step(
        self, optimizer: torch.optim.Optimizer, optimizer_state: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        for found in optimizer_state["found_inf_per_device"].values():
            found.item()  # the wait for the device that the real scaler pays
        return optimizer.step(*args, **kwargs)
