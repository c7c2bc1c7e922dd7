"""What the graph of a forward pass keeps for the reverse pass, in handles that can be let go of.

The C++ engine empties a node's saved tensors once it has run. Python cannot: so inside `saving_tensors` the
graph keeps `SavedTensor` handles, which `release_saved` empties. Hooks of tensors are kept as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from actprof.trace.tensor_hooks import keeping_hooks


class SavedTensor:
    """What the graph keeps of one tensor saved for backward; emptied once its node has run.

    Attributes:
        value: the tensor, or what hooks of the program's own (checkpointing has some) made of it.
        unpack: returns the tensor of `value`.
    """

    __slots__ = ("unpack", "value")

    def __init__(self, value: Any, unpack: Callable[[Any], Tensor]) -> None:
        self.value = value
        self.unpack: Callable[[Any], Tensor] | None = unpack

    def release(self) -> None:
        """Let go of the tensor, and of whatever the hooks hold."""
        self.value = self.unpack = None


_NOTHING = torch.empty(0)
_let_go: list[bool] = []  # not empty while what is unpacked is to be emptied


def _unpack(saved: SavedTensor) -> Tensor:
    if _let_go:
        saved.release()
        return _NOTHING
    if saved.unpack is None:
        raise RuntimeError("a saved tensor was asked for after its node had run")
    return saved.unpack(saved.value)


@contextmanager
def saving_tensors(on_save: Callable[[Tensor], None] | None = None) -> Iterator[None]:
    """Inside, the graph keeps `SavedTensor` handles, so that `reverse_pass` can let go of them.

    Args:
        on_save: called with each tensor that is saved for backward.
    """
    autograd = torch._C._autograd
    push, pop = autograd._push_saved_tensors_default_hooks, autograd._pop_saved_tensors_default_hooks
    pushed: list[list[tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]]] = []

    def push_handles(pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> None:
        hooks = [(pack, unpack)]
        pushed.append(hooks)

        def pack_handle(tensor: Tensor) -> SavedTensor:
            pack, unpack = hooks[0]
            return SavedTensor(pack(tensor), unpack)

        push(pack_handle, _unpack)

    def pop_handles() -> None:
        # C++ keeps `pack_handle` as long as the node; checkpointing's hooks hold the inputs of the block,
        # which the engine lets go of with the last saved tensor: so the hooks are forgotten now.
        pushed.pop().clear()
        pop()

    def pack(tensor: Tensor) -> Tensor:
        if on_save is not None:
            on_save(tensor)
        # With its graph, an output would hold the node that holds it: what is never walked would never die.
        return tensor if tensor.grad_fn is None else tensor.detach()

    with (
        keeping_hooks(),
        mock.patch.object(autograd, "_push_saved_tensors_default_hooks", push_handles),
        mock.patch.object(autograd, "_pop_saved_tensors_default_hooks", pop_handles),
        mock.patch.object(FunctionCtx, "set_materialize_grads", _set_materialize_grads),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        yield


def _set_materialize_grads(ctx: Any, value: bool) -> None:  # noqa: FBT001 - torch's signature
    """Do what `ctx.set_materialize_grads` does, and keep the value where it can be read."""
    ctx.materialize_grads = value
    ctx.readable_materialize_grads = value


_saved_names: dict[type, tuple[str, ...]] = {}


def release_saved(node: Any) -> None:
    """Let go of what the node saved, whether or not its formula asked for it (`release_variables`)."""
    kind = type(node)
    names = _saved_names.get(kind)
    if names is None:
        names = _saved_names[kind] = tuple(n for n in dir(node) if n.startswith("_raw_saved_"))
    for name in names:
        saved = getattr(node, name)
        for item in saved if isinstance(saved, tuple | list) else (saved,):
            if not hasattr(item, "data"):
                _release_unseen(node, name)
                break
            if isinstance(item.data, SavedTensor):
                item.data.release()


def _release_unseen(node: Any, name: str) -> None:
    """Empty handles that torch up to 2.9 shows to no one: it hands them to `_unpack` for the value itself."""
    shown = name.removeprefix("_raw")
    _let_go.append(True)
    try:
        with torch._C._DisableTorchDispatch():
            getattr(node, shown if hasattr(type(node), shown) else "saved_tensors", None)
    finally:
        _let_go.clear()
