"""Two lines of a stack help a reader: the innermost of any library, and the innermost of lerobot."""

import sys

import pytest
import torch

from actprof.trace.origins import NOWHERE, Origins, SourceLines


def call(*modules):
    """Call through one function of each module, outermost first; return the lines that are found inside."""

    def inner():
        return SourceLines().find(sys._getframe())

    for number, module in reversed(list(enumerate(modules))):
        name = module.rpartition(".")[2]
        program = f"def {name}():\n" + "\n" * number + "    return inner()"
        scope = {"__name__": module, "inner": inner}
        exec(compile(program, f"/somewhere/{module.replace('.', '/')}.py", "exec"), scope)  # noqa: S102
        inner = scope[name]
    return inner()


POLICY, LOOP = "lerobot.policies.act.modeling_act", "lerobot.scripts.lerobot_train"
AT_POLICY = "lerobot/policies/act/modeling_act.py:3 modeling_act"
LINEAR, FUNCTIONAL = "torch.nn.modules.linear", "torch.nn.functional"


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([LOOP, POLICY, LINEAR, "torch._ops"], ("torch/nn/modules/linear.py:4 linear", AT_POLICY)),
        ([LOOP, POLICY, "torch._tensor"], (AT_POLICY, AT_POLICY)),
        (
            [LOOP, POLICY, "torch.nn.modules.module", "torch.nn.modules.container", LINEAR],
            ("torch/nn/modules/linear.py:6 linear", AT_POLICY),
        ),
        ([LOOP, POLICY, "actprof.trace.fake"], (AT_POLICY, AT_POLICY)),
        (
            [LOOP, POLICY, "torch.nn.modules.activation", FUNCTIONAL, "torch._jit_internal", FUNCTIONAL],
            ("torch/nn/functional.py:5 functional", AT_POLICY),
        ),
        (
            [LOOP, POLICY, FUNCTIONAL, "torchvision.ops.misc", FUNCTIONAL],
            ("torch/nn/functional.py:6 functional", AT_POLICY),
        ),
        (
            [LOOP, "torch.optim.optimizer", "torch.optim.adam"],
            ("torch/optim/adam.py:4 adam", "lerobot/scripts/lerobot_train.py:2 lerobot_train"),
        ),
        (["accelerate.utils.operations"], ("accelerate/utils/operations.py:2 operations", "")),
        (["actprof.policies.workload", "torch._tensor"], ("actprof/policies/workload.py workload", "")),
        (["lerobots", "torch.nnn.linear", "somebody.elses"], NOWHERE),
    ],
    ids=[
        "a layer", "lerobot itself", "what calls modules", "our own frames", "functions of functional.py",
        "functions of two libraries", "the optimizer", "without lerobot", "our own loop", "strangers",
    ],
)  # fmt: skip
def test_the_lines_that_say_something_are_found(stack, expected):
    """Dispatchers, wrappers and strangers are passed over; each frame's line is its depth plus two."""
    assert expected == call(*stack)


def test_a_package_is_named_by_its_file():
    """What stands in `__init__.py` has that path."""
    scope = {"__name__": "lerobot.policies", "sys": sys, "find": SourceLines().find}
    program = "def build():\n    return find(sys._getframe())"
    exec(compile(program, "/elsewhere/lerobot/policies/__init__.py", "exec"), scope)  # noqa: S102
    assert ("lerobot/policies/__init__.py:2 build",) * 2 == scope["build"]()


class _Part(torch.nn.Module):
    def forward(self, read):
        return read()


class _Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.part = _Part()

    def forward(self, read):
        return read(), self.part.forward(read), self.part(read)


@pytest.mark.parametrize(
    ("owner", "seen"), [("lerobot.policies.pi0", "whole.part"), ("elsewhere", "whole")], ids=str
)
def test_a_module_of_lerobot_counts_when_its_forward_is_called_by_name(monkeypatch, owner, seen):
    """No hook sees such a call, so lerobot's own are followed; what is found is the same as with hooks."""
    monkeypatch.setattr(_Part, "__module__", owner)
    root = torch.nn.ModuleDict({"whole": _Whole()})
    origins = Origins(sources=False)

    with origins.watching(root):
        assert ("whole", seen, "whole.part") == root["whole"](origins.module)
    assert ("",) * 3 == root["whole"](origins.module)
    assert "forward" not in vars(root["whole"].part)
