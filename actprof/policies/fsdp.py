"""A policy as FSDP2 shards it: torch's own `fully_shard`, through accelerate's own `fsdp2_prepare_model`.

The other GPUs of the run are pretended: collectives go to torch's fake process group, which allocates and
sends nothing, so that one process does what the first of them does, on real and on fake tensors alike. A
group that is there and has as many processes is taken instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.distributed
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from actprof.cell import Cell
from actprof.errors import FieldError, TraceError

_ACCELERATE = "FSDP_"  # of the variables that its plugin reads


def shard(cell: Cell, policy: Any, optimizer: torch.optim.Optimizer, *, precision: str) -> None:
    """Shard `policy` over the GPUs of the run, and hand its new parameters to `optimizer`.

    Args:
        cell: names the GPUs, the units, and whether they are given up after their forward pass.
        policy: on the device; its parameters become `DTensor`s, and its class one of FSDP's.
        optimizer: of its parameters, without state.
        precision: of autocast: `fp32` or `bf16`; accelerate gathers, computes and reduces in it.

    Raises:
        FieldError: a unit's class that the policy does not have.
        TraceError: fp16, which lerobot refuses for sharded runs.
        ValueError: what lerobot, accelerate or torch refuse.
    """
    if precision == "fp16":
        raise TraceError(
            "lerobot's own code for sharded training refuses fp16: nobody has tried its gradient scaler there"
        )
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model, fsdp2_switch_optimizer_parameters

    accelerator = _accelerator(cell, policy, next(policy.parameters()).device, precision)
    _let_go(optimizer, {id(parameter): name for name, parameter in policy.named_parameters()})
    fsdp2_prepare_model(accelerator, policy)
    fsdp2_switch_optimizer_parameters(optimizer, dict(policy.named_parameters()))
    policy.forward = _Called(policy)


def import_fsdp() -> None:
    """Import what `shard` needs before anybody records it: some imports make tensors."""
    import accelerate.utils.fsdp_utils  # noqa: F401
    import torch.distributed.fsdp
    import torch.testing._internal.distributed.fake_pg  # noqa: F401


def sharded_units(policy: nn.Module) -> list[Any]:
    """Return the modules of `policy` that are units, itself included."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in policy.modules() if isinstance(module, FSDPModule)]


def is_shard(parameter: torch.Tensor) -> bool:
    """Tell whether a parameter is this GPU's part of one, and not gathered."""
    return hasattr(parameter, "_local_tensor")


def leave_group() -> None:
    """Leave the process group that `shard` has pretended, if there is one."""
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "fake":
        torch.distributed.destroy_process_group()


class _Called:
    """A policy's `forward` as the policy itself: up to 0.6.1 lerobot calls that, past the hooks of FSDP.

    Newer releases call the policy.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._policy, self._forward = policy, policy.forward
        self._inside = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._inside:
            return self._forward(*args, **kwargs)
        self._inside = True
        try:
            return self._policy(*args, **kwargs)
        finally:
            self._inside = False


def _accelerator(cell: Cell, policy: nn.Module, device: torch.device, precision: str) -> Any:
    """Return what accelerate's functions ask of an `Accelerator`, with lerobot's plugin."""
    from accelerate.utils import FullyShardedDataParallelPlugin

    plain = {name: value for name, value in os.environ.items() if not name.startswith(_ACCELERATE)}
    with mock.patch.dict(os.environ, plain, clear=True):
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            reshard_after_forward=cell.reshard_after_forward,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=_checked(cell.wrap_modules, policy),
        )
    if precision != "fp32":
        plugin.set_mixed_precision(precision)
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision="no" if precision == "fp32" else precision,
        torch_device_mesh={("fsdp",): _mesh(cell.world_size, device.type)},
        parallelism_config=SimpleNamespace(fsdp_dim_names=("fsdp",)),
        is_main_process=False,  # which would tell of its work
        device=device,
    )
    _name_units(accelerator, getattr(policy, "get_base_model", lambda: policy)())
    return accelerator


def _name_units(accelerator: Any, policy: Any) -> None:
    """Let lerobot say which modules are units, as it does from 0.6.2 on; before, accelerate does."""
    try:
        from lerobot.distributed import set_fsdp_wrap_modules
    except ImportError:
        return
    set_fsdp_wrap_modules(accelerator, policy)


def _checked(names: tuple[str, ...], policy: nn.Module) -> list[str] | None:
    """Return the classes that are units, or None where nobody names them."""
    there = sorted({type(module).__name__ for module in policy.modules()})
    for name in names:
        if name not in there:
            raise FieldError(
                f"wrap_modules names {name}, and no module of this policy is one; there are "
                f"{', '.join(there)}",
                "wrap_modules",
            )
    return list(names) or None


def _mesh(world_size: int, device_type: str) -> Any:
    """Return the GPUs of the run in a row; made outside all modes, as it computes with its numbers."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    with _disable_current_modes():
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() != world_size:
            leave_group()
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())
        return DeviceMesh(device_type, list(range(world_size)))


def _let_go(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> None:
    """Take the parameters from `optimizer`, as accelerate's `prepare` does, lest they outlive the sharding.

    It tells what stands for them by their addresses, which fake tensors have none of: here it is by name.
    """
    for group in optimizer.param_groups:
        for place, parameter in enumerate(group["params"]):
            stand_in = torch.empty(1, dtype=parameter.dtype, device=parameter.device)
            stand_in.data_ptr = names[id(parameter)]  # type: ignore[method-assign, assignment]
            group["params"][place] = stand_in
