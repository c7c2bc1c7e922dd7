"""The changes of `policies/changes.py` as text for a user's training script; read, not imported: no torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("changes.py")
_ON_OPTIMIZER = {"fused_adamw"}
_HINTS = re.compile(r": (?:Any|dict\[str, Any\]|Callable\[\[Any\], None\])| -> [^:]+(?=:$)")
_DEFAULT = re.compile(r"(?<=\w) = ")
_FOR_TOOLS = re.compile(r"  # (?:noqa|type: ignore).*$")
_IMPORTS = {
    "partial(": "from functools import partial",
    "torch.": "import torch",
    "checkpoint,": "from torch.utils.checkpoint import checkpoint",
}
_POLICY = """\
make_policy = lerobot_train.make_policy


def make_changed_policy(*args, **kwargs):
    policy = make_policy(*args, **kwargs)
{calls}
    return policy


lerobot_train.make_policy = make_changed_policy"""
_OPTIMIZER = """\
make_optimizer = lerobot_train.make_optimizer_and_scheduler


def make_changed_optimizer(*args, **kwargs):
    optimizer, scheduler = make_optimizer(*args, **kwargs)
{calls}
    return optimizer, scheduler


lerobot_train.make_optimizer_and_scheduler = make_changed_optimizer"""
_MAIN = 'if __name__ == "__main__":\n    lerobot_train.main()'


@cache
def change_code(name: str) -> str:
    """Return the function of the change `name` as it runs here, without its type hints."""
    text = _SOURCE.read_text()
    found = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    source = ast.get_source_segment(text, found[name]) or ""
    lines = [_FOR_TOOLS.sub("", line) for line in source.splitlines()]
    return "\n".join(_plain(line) if line.lstrip().startswith("def ") else line for line in lines)


def _plain(definition: str) -> str:
    return _DEFAULT.sub("=", _HINTS.sub("", definition))


def train_script(names: Sequence[str]) -> str:
    """Return a script that is run in place of `lerobot-train`, with its options, and makes the changes."""
    functions = [change_code(name) for name in names]
    imports = [line for word, line in _IMPORTS.items() if any(word in text for text in functions)]
    standard = [line for line in imports if "functools" in line]
    others = ["import lerobot.scripts.lerobot_train as lerobot_train", *imports[len(standard) :]]
    head = "\n".join([*standard, "", *others] if standard else others)
    policy = [name for name in names if name not in _ON_OPTIMIZER]
    optimizer = [name for name in names if name in _ON_OPTIMIZER]
    blocks = [head, *functions]
    if policy:
        calls = "\n".join(f"    {name}(policy)" for name in policy)
        blocks.append(_POLICY.format(calls=calls))
    if optimizer:
        calls = "\n".join(f"    {name}(optimizer)" for name in optimizer)
        blocks.append(_OPTIMIZER.format(calls=calls))
    return "\n\n\n".join([*blocks, _MAIN]) + "\n"
