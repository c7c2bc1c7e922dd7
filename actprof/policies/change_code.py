"""The changes of `policies/changes/`, and an optimizer of 8 bits, as text for a user's training script."""

from __future__ import annotations

import re
from collections.abc import Sequence

from actprof.cell import CHANGES
from actprof.policies import policy_spec
from actprof.policies.changes import find_change, read_change

_HINTS = re.compile(r": (?:Any|dict\[str, Any\]|Callable\[\[Any\], None\])| -> [^:]+(?=:$)")
_PLACE = "policy.get_submodule(place)"
_DEFAULT = re.compile(r"(?<=\w) = ")
_FOR_TOOLS = re.compile(r"  # (?:noqa|type: ignore).*$")
_IMPORTS = {
    "partial(": "from functools import partial",
    "torch.": "import torch",
    "checkpoint,": "from torch.utils.checkpoint import checkpoint",
    "AdamW8bit": "from bitsandbytes.optim import AdamW8bit",
}
# What `actprof.policies.eight_bit_adamw` does: lerobot's presets ask torch for either of the two.
_OTHERS = {"adamw_8bit": "torch.optim.Adam = torch.optim.AdamW = AdamW8bit"}
SCRIPTS = (*CHANGES, *_OTHERS)
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
    """Return the code of one of `SCRIPTS` for `policy`: a change as it runs here, without its type hints.

    Raises:
        UsageError: the change does not fit the policy.
    """
    if name in _OTHERS:
        return _OTHERS[name]
    parts = policy_spec(policy).parts
    change = find_change(name, parts, policy)
    source = change.source.replace(", place: str", "").replace(_PLACE, f"policy.{change.place(parts)}")
    lines = [_FOR_TOOLS.sub("", line) for line in source.splitlines()]
    return "\n".join(_plain(line) if line.lstrip().startswith("def ") else line for line in lines)


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
    blocks = [head, *functions]
    for on, wrapper in (("policy", _POLICY), ("optimizer", _OPTIMIZER)):
        calls = [f"    {name}({on})" for name in names if name in CHANGES and read_change(name).on == on]
        blocks += [wrapper.format(calls="\n".join(calls))] if calls else []
    return "\n\n\n".join([*blocks, _MAIN]) + "\n"
