"""What `actprof suggest` prints is what a cell with that change runs."""

import subprocess
import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace

import pytest
import torch

from actprof.cell import CHANGES
from actprof.errors import UsageError
from actprof.policies import policy_names, policy_spec
from actprof.policies.change_code import SCRIPTS, change_code, train_script
from actprof.policies.changes import fitting_changes


@pytest.mark.parametrize("policy", policy_names())
def test_every_change_has_code_for_users(policy):
    """One function of its name, without hints for tools; or what is done to torch's optimizers."""
    for name in SCRIPTS:
        with suppress(UsageError):  # it does not fit this policy
            code = change_code(name, policy)
            assert code.startswith((f"def {name}(", "torch.optim."))
            assert not any(word in code for word in ("Any", "->", "place", "noqa", "type: ignore"))
            compile(train_script([name], policy), name, "exec")


def test_no_change_is_for_nobody():
    """Each fits a policy."""
    parts = [policy_spec(policy).parts for policy in policy_names()]
    assert set(CHANGES) == {change.name for each in parts for change in fitting_changes(each)}


def test_an_optimizer_of_8_bits_takes_the_place_of_torchs():
    """As lerobot's presets ask torch for either when the run begins."""
    script = train_script(["adamw_8bit", "fused_attention"], "act")

    assert "from bitsandbytes.optim import AdamW8bit\n" in script
    assert script.index("torch.optim.AdamW = AdamW8bit") < script.index("lerobot_train.main()")
    assert "adamw_8bit" not in script


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
