"""A CUDA device that does not exist: tensors with shapes, dtypes and CUDA dispatch keys, but no data.

Inside `fake_cuda()` ATen takes the decisions that it takes on a GPU (fused dropout, foreach optimizers),
because the tensors say that they are on one. Some things need help, each undone on leaving:

- `Module.to` swaps tensors in place, which fake ones refuse: entries are re-created instead, in its order.
- The first fake CUDA tensor would start the CUDA runtime if it looked available.
- Foreach implementations are chosen by exact type; the fake type is added to their lists.
- `linear` adds its bias out of place while any tensor mode is active; here it does as it does without.
- Attention takes the kernel that a GPU would take (`actprof.trace.rules.attention`).
- A GPU that is there is not asked for anything, so that a trace is the same everywhere, nor is the driver of
  one that is not (`actprof.trace.device_guard`).
- `torch.autocast("cuda")` stays on without a GPU, bf16 too: checkpointing enters it again for the second run.
- `torch.tensor` of a list of tensors looks at each where no mode sees it: it gets their values.
- A deep copy of a tensor would copy its mode as well, and the process would die of that: it becomes a clone.
- `numpy()` has no data to give; what asks for it only logs figures, and gets ones. So does `tolist()`, unless
  the values are known (`actprof.trace.values`).
- A single number drawn on the host says which layer LayerDrop skips; it is one, which skips none.
- transformers keeps a padding mask that is true everywhere while it believes to be traced; a GPU drops it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch._subclasses import FakeTensor, FakeTensorMode, fake_tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.cuda.amp import common as amp_common
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.optim import optimizer
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from actprof.trace.device_guard import driver_not_asked
from actprof.trace.rules.attention import scaled_dot_product_attention
from actprof.trace.values import to_list


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Enter a mode in which `"cuda"` is a device, with or without a GPU."""
    replaced: tuple[tuple[Any, str, Any], ...] = (
        (torch.nn.Module, "_apply", _recreate_entries),
        (fake_tensor, "init_gpu_context", lambda _device: None),
        (torch.cuda, "is_available", lambda: False),
        (torch, "tensor", _tensor),
        (torch, "rand", _rand),
        (torch.nn.functional, "linear", _linear),
        (torch.nn.functional, "scaled_dot_product_attention", scaled_dot_product_attention),
        (amp_common, "amp_definitely_not_available", lambda: False),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (_foreach_utils, "_foreach_supported_types", _foreach_types(_foreach_utils)),
        (optimizer, "_foreach_supported_types", _foreach_types(optimizer)),
        (FakeTensor, "__deepcopy__", _deep_copy),
        (FakeTensor, "numpy", _numpy),
        (FakeTensor, "tolist", to_list),
    )
    with ExitStack() as stack:
        for owner, name, new in replaced:
            stack.enter_context(mock.patch.object(owner, name, new))
        if "transformers" in sys.modules:  # it is imported with the policy, before anything is recorded
            target = "transformers.utils.import_utils.is_fake_tensor"
            stack.enter_context(mock.patch(target, lambda _tensor: False))
        stack.enter_context(driver_not_asked())
        yield stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()))


def _deep_copy(tensor: FakeTensor, memo: dict[int, Any]) -> torch.Tensor:
    if id(tensor) not in memo:
        copy: torch.Tensor = tensor.detach().clone()
        if isinstance(tensor, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, tensor.requires_grad)
        memo[id(tensor)] = copy
    made: torch.Tensor = memo[id(tensor)]
    return made


def _numpy(tensor: FakeTensor, *, force: bool = False) -> Any:
    plain = tensor.dtype.is_floating_point and tensor.dtype != torch.float64
    dtype = torch.float32 if plain else tensor.dtype
    with unset_fake_temporarily():
        return torch.ones(tuple(tensor.shape), dtype=dtype).numpy(force=force)


_new_tensor = torch.tensor


def _tensor(data: Any, **options: Any) -> torch.Tensor:
    if isinstance(data, (list, tuple)) and any(isinstance(item, FakeTensor) for item in data):
        data = [item.item() if isinstance(item, FakeTensor) else item for item in data]
    return _new_tensor(data, **options)


_drawn = torch.rand


def _rand(*size: Any, **options: Any) -> Any:
    return 1.0 if size in ((), ([],), ((),)) and not options else _drawn(*size, **options)


_aten_linear = torch.nn.functional.linear


def _linear(
    input: torch.Tensor,  # noqa: A002 - torch's own name, which callers may use
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Do what `at::linear` does where no mode is active (aten/src/ATen/native/Linear.cpp).

    Under autocast the bias is cast and cached inside, so that its addition has to be caught there.
    """
    if bias is None or input.dim() == 2 or input.is_contiguous():
        return _aten_linear(input, weight, bias)
    if torch.is_autocast_enabled(input.device.type):
        with _AddsInPlace():  # type: ignore[no-untyped-call]
            return _aten_linear(input, weight, bias)
    return torch.matmul(input, weight.t()).add_(bias)


class _AddsInPlace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes of `a + b` what `a += b` is."""

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.add.Tensor:
            func = torch.ops.aten.add_.Tensor
        return func(*args, **(kwargs or {}))


def _foreach_types(module: Any) -> list[type]:
    return [*module._foreach_supported_types, FakeTensor]


class _Conversion:
    """Converts tensors, each parameter once: one that modules share stays one.

    A parameter that nothing else holds is not kept alive, as its memory goes on a GPU too.
    """

    def __init__(self, convert: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._convert = convert
        self._made: Any = WeakTensorKeyDictionary()

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._convert(tensor)

    def parameter(self, old: torch.nn.Parameter) -> torch.nn.Parameter:
        """Return what stands for `old`, or `old` if it was made here."""
        new: torch.nn.Parameter | None = self._made.get(old)
        if new is None:
            with torch.no_grad():
                new = torch.nn.Parameter(self._convert(old), old.requires_grad)
            self._made[old] = self._made[new] = new
        return new


def _recreate_entries(
    module: torch.nn.Module,
    convert: Callable[[torch.Tensor], torch.Tensor],
    recurse: bool = True,  # noqa: FBT001, FBT002 - the signature of Module._apply
) -> torch.nn.Module:
    """Do what `Module._apply` does, children first, by putting new parameters in place of the old."""
    conversion = convert if isinstance(convert, _Conversion) else _Conversion(convert)
    if recurse:
        for child in module.children():
            child._apply(conversion)  # type: ignore[no-untyped-call]
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = conversion.parameter(parameter)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = conversion(buffer)
    return module
