"""Which lines of lerobot and of the libraries below it made an op, read off Python's stack.

Two lines help a reader: the innermost one of any library that says what is computed (`torch/nn/...`), and
the innermost one of lerobot. Frames of torch's dispatcher and of actprof say nothing and are passed over.
"""

from __future__ import annotations

from types import FrameType

# (innermost line, innermost line of lerobot), each `path:line function`.
Site = tuple[str, str]
NOWHERE: Site = ("", "")

_PASSED, _LIBRARY, _FUNCTIONAL, _LEROBOT, _OURS = range(5)
_LIBRARIES = ("torchvision", "accelerate", "transformers", "diffusers", "timm")
_PARTS_OF_TORCH = ("torch.nn.", "torch.optim.", "torch.amp.")
# These call whatever is inside them; they say nothing of what is computed.
_CALLERS_OF_MODULES = {"torch.nn.modules.module", "torch.nn.modules.container"}
# Our copy of a few lines of lerobot's training loop: named only where there is nothing better.
_OUR_LOOP = "actprof.policies.workload"


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
        return f"{self._paths[frame.f_code.co_filename]}:{frame.f_lineno} {frame.f_code.co_name}"

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
