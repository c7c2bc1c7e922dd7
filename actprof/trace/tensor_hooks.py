"""Hooks of tensors that a node made, which see their gradients before the node runs.

Calling a node in Python runs its formula and not these hooks. Inside `keeping_hooks` the graph keeps them
where `run_hooks` finds them. A hook of a leaf is left to torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import Tensor
from torch.utils.hooks import RemovableHandle

Hook = Callable[[Tensor | None], Tensor | None]
_KEY = "actprof's tensor hooks"
_register = Tensor.register_hook


@contextmanager
def keeping_hooks() -> Iterator[None]:
    """Inside, `Tensor.register_hook` keeps the hooks of what a node made in that node's metadata.

    There they live as long as the node, as in C++ (torch/csrc/autograd/python_hook.cpp).
    """
    with mock.patch.object(Tensor, "register_hook", _keep_hook):
        yield


def _keep_hook(tensor: Tensor, hook: Hook) -> RemovableHandle:
    node: Any = tensor.grad_fn
    if node is None:
        return _register(tensor, hook)  # type: ignore[no-any-return, no-untyped-call]
    outputs: dict[int, OrderedDict[int, Hook]] = node.metadata.setdefault(_KEY, {})
    hooks = outputs.setdefault(tensor.output_nr, OrderedDict())
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def run_hooks(node: Any, gradients: list[Tensor | None]) -> None:
    """Let the hooks of what `node` made see, and replace, its gradients, in the order of their tensors.

    Raises:
        RuntimeError: a hook gives a gradient where there is none.
    """
    for output, hooks in node.metadata.get(_KEY, {}).items():
        gradients[output] = _called(hooks, gradients[output])


def _called(hooks: OrderedDict[int, Hook], gradient: Tensor | None) -> Tensor | None:
    for hook in list(hooks.values()):
        replacement = hook(gradient)
        if replacement is None:
            continue
        if gradient is None:
            raise RuntimeError("can't replace a None gradient with a non-None value")
        gradient, replacement = replacement, None
    return gradient
