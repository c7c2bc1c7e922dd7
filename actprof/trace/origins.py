"""Whose an op is: the module whose forward runs, and the lines of source that asked for it.

An op of the reverse pass belongs to the module, and to the lines, whose forward made its autograd node;
the node's sequence number says which that was. Of the lines on Python's stack two help a reader: the
innermost one of any library that says what is computed (`torch/nn/...`), and the innermost one of lerobot.
Frames of torch's dispatcher and of actprof say nothing and are passed over.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import FrameType
from typing import Any, Generic, TypeVar
from unittest import mock

import torch

from actprof.policies.adapter import own_path

# (innermost line, innermost line of lerobot), each `path:line function`.
Site = tuple[str, str]
NOWHERE: Site = ("", "")

_PASSED, _LIBRARY, _FUNCTIONAL, _LEROBOT, _OURS = range(5)
_LIBRARIES = ("torchvision", "accelerate", "transformers", "diffusers", "peft", "timm")
_PARTS_OF_TORCH = ("torch.nn.", "torch.optim.", "torch.amp.")
# These call whatever is inside them; they say nothing of what is computed.
_CALLERS_OF_MODULES = {"torch.nn.modules.module", "torch.nn.modules.container"}
# Our copy of a few lines of lerobot's training loop: named only where there is nothing better.
_OUR_LOOP = "actprof.policies.workload"


class Origins:
    """Follows modules and autograd nodes as they are entered and left.

    Args:
        sources: also find the lines of source; without, every op comes from `NOWHERE`.
    """

    def __init__(self, *, sources: bool) -> None:
        self._lines = SourceLines() if sources else None
        self._modules: list[str] = [""]
        self._paths: dict[int, str] = {}
        self.begin_step()
        self._node: int | None = None
        self._in_nodes = False
        self._next_number = 0
        self._site: Site | None = None  # of the op that began last, if it was looked for

    @contextmanager
    def watching(self, root: torch.nn.Module) -> Iterator[None]:
        """Attribute ops to the modules of `root` while inside."""
        self._paths = {id(module): own_path(path) for path, module in root.named_modules()}
        enter = torch.nn.modules.module.register_module_forward_pre_hook(self._enter)
        leave = torch.nn.modules.module.register_module_forward_hook(self._leave, always_call=True)
        try:
            with ExitStack() as stack:
                for module in root.modules():
                    if module is not root and type(module).__module__.startswith("lerobot."):
                        stack.enter_context(mock.patch.object(module, "forward", self._follow(module)))
                yield
        finally:
            enter.remove()
            leave.remove()

    def _follow(self, module: torch.nn.Module) -> Callable[..., Any]:
        """Return `forward` of a module of lerobot, which calls some of them by that name: no hook sees it."""
        forward = module.forward

        @wraps(forward)
        def followed(*args: Any, **kwargs: Any) -> Any:
            self._enter(module, args)
            try:
                return forward(*args, **kwargs)
            finally:
                self._leave(module, args, None)

        return followed

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        self._modules.append(self._paths.get(id(module), self._modules[-1]))
        self._made_by.add(_next_sequence_number(), self._modules[-1])

    def _leave(self, _module: torch.nn.Module, _inputs: Any, _outputs: Any) -> None:
        self._modules.pop()
        self._made_by.add(_next_sequence_number(), self._modules[-1])

    def begin_step(self) -> None:
        """Forget the nodes of the step before."""
        self._made_by = _NodeMarks("")
        self._made_at = _NodeMarks(NOWHERE)

    def begin_op(self) -> None:
        """Note which lines made the autograd node of the op that begins, if it has one.

        By the time an op reaches a dispatch mode its node is there: it has the last number given.
        """
        self._site = None
        if self._lines is None:
            return
        number = _next_sequence_number()
        if number > self._next_number:
            self._next_number = number
            self._site = self._lines.find(sys._getframe(1))
            self._made_at.add(number - 1, self._site)

    def enter_node(self, sequence_number: int | None) -> None:
        """Attribute the ops that follow to whatever made this autograd node."""
        self._node, self._in_nodes = sequence_number, True

    def leave_nodes(self) -> None:
        """Attribute what follows to the modules and lines that run again."""
        self._in_nodes = False

    def _by_node(self) -> bool:
        # A module that runs while a node does was checkpointed, and runs again.
        return self._in_nodes and len(self._modules) == 1

    def module(self) -> str:
        """Return the path of the module to which the op that began last belongs."""
        return self._made_by.find(self._node) if self._by_node() else self._modules[-1]

    def site(self) -> Site:
        """Return the lines to which the op that began last belongs."""
        if self._lines is None:
            return NOWHERE
        if self._by_node():
            return self._made_at.find(self._node)
        return self._site or self._lines.find(sys._getframe(1))


_Value = TypeVar("_Value")


class _NodeMarks(Generic[_Value]):
    """Which value belongs to an autograd node: that of the last mark at or below its sequence number."""

    def __init__(self, default: _Value) -> None:
        self._numbers = [-1]  # they rise
        self._values = [default]

    def add(self, number: int, value: _Value) -> None:
        """Nodes from `number` on have this value."""
        self._numbers.append(number)
        self._values.append(value)

    def find(self, number: int | None) -> _Value:
        """Return the value of node `number`; the default for a leaf, which has none."""
        return self._values[0 if number is None else bisect_right(self._numbers, number) - 1]


def _next_sequence_number() -> int:
    return int(torch._C._autograd._get_sequence_nr())


class SourceLines:
    """Finds the lines that say something on a stack; remembers which files do."""

    def __init__(self) -> None:
        self._kinds: dict[str, int] = {}  # per file
        self._paths: dict[str, str] = {}

    def find(self, frame: FrameType | None) -> Site:
        """Return the lines of the innermost frames that say something, from `frame` outwards.

        Of several frames in torch/nn/functional.py the outermost counts: the line of
        `multi_head_attention_forward` that asks for a softmax says more than that of `softmax`.
        """
        line: FrameType | None = None
        ours: FrameType | None = None
        only_functional = True
        while frame is not None:
            kind = self._kinds.get(frame.f_code.co_filename)
            if kind is None:
                kind = self._classify(frame)
            if kind == _LEROBOT:
                caller = self._text(frame)
                return (caller if line is None else self._text(line)), caller
            if kind == _OURS:
                ours = ours or frame
            elif kind and only_functional:
                only_functional = kind == _FUNCTIONAL
                if only_functional or line is None:
                    line = frame
            frame = frame.f_back
        last = line or ours
        return ("" if last is None else self._text(last)), ""

    def _text(self, frame: FrameType) -> str:
        """Return `path:line function`; of our own loop without the line, which moves with any edit."""
        file = frame.f_code.co_filename
        line = "" if self._kinds[file] == _OURS else f":{frame.f_lineno}"
        return f"{self._paths[file]}{line} {frame.f_code.co_name}"

    def _classify(self, frame: FrameType) -> int:
        file = frame.f_code.co_filename
        module = str(frame.f_globals.get("__name__", ""))
        kind = self._kinds[file] = _PASSED if file.startswith("<") else _kind_of(module)
        end = "/__init__.py" if file.endswith("__init__.py") else ".py"
        self._paths[file] = module.replace(".", "/") + end
        return kind


def _kind_of(module: str) -> int:
    top = module.partition(".")[0]
    if top == "lerobot":
        return _LEROBOT
    if module == "torch.nn.functional":
        return _FUNCTIONAL
    if module.startswith(_PARTS_OF_TORCH):
        return _PASSED if module in _CALLERS_OF_MODULES else _LIBRARY
    if module == _OUR_LOOP:
        return _OURS
    return _LIBRARY if top in _LIBRARIES else _PASSED
