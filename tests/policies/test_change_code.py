"""What `actprof suggest` prints is what a cell with that change runs."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from actprof.cell import CHANGES
from actprof.policies.change_code import change_code, train_script


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_has_code_for_users(name):
    """One function of its name, without hints for tools."""
    code = change_code(name, "act")

    assert code.startswith(f"def {name}(")
    assert not any(word in code for word in ("Any", "->", "noqa", "type: ignore"))
    compile(train_script([name], "act"), name, "exec")


def test_a_training_script_makes_its_changes_and_runs_lerobots_main(monkeypatch):
    """Policy and optimizer pass through the changes on their way into lerobot's loop."""
    attention = torch.nn.MultiheadAttention(8, 2)
    optimizer = torch.optim.AdamW(attention.parameters())
    made = {}
    train = ModuleType("lerobot.scripts.lerobot_train")
    train.make_policy = lambda: attention
    train.make_optimizer_and_scheduler = lambda _config, _policy: (optimizer, None)
    train.main = lambda: made.update(
        policy=train.make_policy(), optimizer=train.make_optimizer_and_scheduler(None, None)[0]
    )
    parent = SimpleNamespace(lerobot_train=train)
    names = {"lerobot": SimpleNamespace(scripts=parent), "lerobot.scripts": parent, train.__name__: train}
    for name, module in names.items():
        monkeypatch.setitem(sys.modules, name, module)
    exec(train_script(["fused_attention", "fused_adamw"], "act"), {"__name__": "__main__"})  # noqa: S102 - its job

    token = torch.zeros(3, 1, 8)
    assert made["policy"](token, token, token)[1] is None
    assert made["optimizer"].param_groups[0]["fused"] is True


def test_the_code_is_read_without_torch():
    """Printing it must not take ten seconds."""
    program = (
        "import sys; from actprof.policies.change_code import change_code; "
        "change_code('fused_attention', 'act'); "
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "False\n" == shown.stdout
