"""The changes of `policies/changes.py` as text for a user's training script; read, not imported: no torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from actprof.errors import UsageError
from actprof.policies import policy_spec

_SOURCE = Path(__file__).with_name("changes.py")
_ON_OPTIMIZER = {"fused_adamw"}
_HINTS = re.compile(r": (?:Any|dict\[str, Any\]|Callable\[\[Any\], None\])| -> [^:]+(?=:$)")
_PLACE = "policy.get_submodule(place)"
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


def change_code(name: str, policy: str) -> str:
    """Return the function of the change `name` as it runs here for `policy`, without its type hints.

    Raises:
        UsageError: the change does not fit the policy.
    """
    places = policy_spec(policy).changes
    if name not in places:
        raise UsageError(f"{name} does not fit {policy}, which can take {', '.join(places)}")
    source = _functions()[name].replace(", place: str", "").replace(_PLACE, f"policy.{places[name]}")
    lines = [_FOR_TOOLS.sub("", line) for line in source.splitlines()]
    return "\n".join(_plain(line) if line.lstrip().startswith("def ") else line for line in lines)


@cache
def _functions() -> dict[str, str]:
    """Return the source of every function of `policies/changes.py` by its name."""
    text = _SOURCE.read_text()
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(text, node) or "" for node in found}


def _plain(definition: str) -> str:
    return _DEFAULT.sub("=", _HINTS.sub("", definition))


def train_script(names: Sequence[str], policy: str) -> str:
    """Return a script that is run in place of `lerobot-train`, with its options, and makes the changes.

    Raises:
        UsageError: a change does not fit the policy.
    """
    functions = [change_code(name, policy) for name in names]
    imports = [line for word, line in _IMPORTS.items() if any(word in text for text in functions)]
    standard = [line for line in imports if "functools" in line]
    others = ["import lerobot.scripts.lerobot_train as lerobot_train", *imports[len(standard) :]]
    head = "\n".join([*standard, "", *others] if standard else others)
    on_policy = "\n".join(f"    {name}(policy)" for name in names if name not in _ON_OPTIMIZER)
    on_optimizer = "\n".join(f"    {name}(optimizer)" for name in names if name in _ON_OPTIMIZER)
    blocks = [head, *functions]
    if on_policy:
        blocks.append(_POLICY.format(calls=on_policy))
    if on_optimizer:
        blocks.append(_OPTIMIZER.format(calls=on_optimizer))
    return "\n\n\n".join([*blocks, _MAIN]) + "\n"
