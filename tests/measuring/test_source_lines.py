"""Memory by source line, on a stand-in for the statistics of torch's CUDA allocator."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fake_memory import FakeMemory

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measuring.request import Request
from actprof.measuring.source_lines import (
    LineUse,
    forward_functions,
    lines_text,
    profile_lines,
    profile_policy,
)
from actprof.policies import policy_spec
from actprof.policies.workload import build_workload
from actprof.units import GIB, MIB


@pytest.fixture
def memory(monkeypatch):
    """A GPU of which only the allocator's statistics exist."""
    return FakeMemory.instead_of_cuda(monkeypatch)


def layer(memory, count):
    """Take bytes for good, and as many for a moment."""
    memory.take(count)
    memory.take(count)
    memory.take(-count)


def model(memory):
    memory.take(10 * MIB)
    for count in (MIB, 2 * MIB):
        layer(memory, count)
    memory.take(-5 * MIB)
    if memory.active < 0:
        memory.take(GIB)
    return memory


def peaks(lines, function):
    """Return source -> (active, reserved) of one function, in MiB."""
    return {
        use.source.strip(): (use.active_bytes_peak // MIB, use.reserved_bytes_peak // MIB)
        for use in lines
        if use.function == function
    }


def test_each_line_has_its_highest_bytes(memory):
    """What it calls is included, the highest of several runs counts, and a line that never ran is none."""
    lines = profile_lines([model, layer], lambda: model(memory))

    assert {
        "memory.take(10 * MIB)": (10, 10),
        "for count in (MIB, 2 * MIB):": (13, 15),
        "layer(memory, count)": (15, 15),
        "memory.take(-5 * MIB)": (13, 15),
        "if memory.active < 0:": (8, 15),
        "return memory": (8, 15),
    } == peaks(lines, "model")
    assert {"memory.take(count)": (15, 15), "memory.take(-count)": (15, 15)} == peaks(lines, "layer")


def test_lines_stand_in_source_order(memory):
    """Functions as given, lines by number, each with its file; the `def` line tells of the caller."""
    lines = profile_lines([model, layer, model], lambda: model(memory))
    first = layer.__code__.co_firstlineno

    assert ["model"] * 6 + ["layer"] * 3 == [use.function for use in lines]
    assert [first + 2, first + 3, first + 4] == [use.line for use in lines[6:]]
    assert {"test_source_lines.py"} == {use.file for use in lines}


def test_a_function_that_never_runs_has_no_lines(memory):
    """Neither an error nor rows of zeros."""
    assert () == profile_lines([model], lambda: None)
    assert {"layer"} == {use.function for use in profile_lines([model, layer], lambda: layer(memory, MIB))}


def test_a_decorated_function_is_looked_into(memory):
    """The lines are those of the function itself."""

    @functools.cache
    def inner():
        memory.take(MIB)

    assert ["        memory.take(MIB)"] == [use.source for use in profile_lines([inner], inner)]


def test_the_tracer_of_before_is_put_back(memory):
    """Coverage and debuggers go on, also after an error, which passes through."""

    def tracer(_frame, _event, _argument):
        return None

    def fails():
        raise KeyError

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with pytest.raises(KeyError):
            profile_lines([model], fails)
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert tracer is after


def test_a_run_that_catches_its_own_error_keeps_the_lines_so_far(memory):
    """The line that ran out of memory is the last one."""

    def runs_out():
        memory.take(GIB)
        raise torch.OutOfMemoryError

    def run():
        with pytest.raises(torch.OutOfMemoryError):
            runs_out()

    assert ["memory.take(GIB)", "raise torch.OutOfMemoryError"] == [
        use.source.strip() for use in profile_lines([runs_out], run)
    ]


def test_what_has_no_lines_is_refused(memory):
    """A function of C, and two of one name."""

    def named_twice():
        def model():
            """Never called."""

        model.__qualname__ = "model"
        return model

    with pytest.raises(UsageError, match="<built-in function len> has no Python source"):
        profile_lines([len], lambda: None)
    with pytest.raises(UsageError, match="two functions are called model"):
        profile_lines([model, named_twice()], lambda: None)


def test_without_a_gpu_it_is_refused(monkeypatch, capsys):
    """Before pytorch-memlab prints that it does nothing."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(UsageError, match="read from a CUDA GPU, and torch finds none here"):
        profile_lines([model], lambda: None)
    assert "" == capsys.readouterr().out


def use(function, line, source, active, reserved):
    return LineUse(
        function=function,
        file="lerobot/policies/act/modeling_act.py",
        line=line,
        source=source,
        active_bytes_peak=active,
        reserved_bytes_peak=reserved,
    )


LINES = (
    use("ACT.forward", 412, "        if self.config.use_vae:", 9 * GIB, 10 * GIB),
    use("ACT.forward", 413, "            encoder_out = self.encoder(encoder_in_tokens, pos_embed=pos_embed)",
        12 * GIB, 13 * GIB),
    use("ACTEncoderLayer.forward", 557, "        x = self.dropout(x)", 512 * MIB, 10 * GIB),
)  # fmt: skip


def test_the_table_fits_a_terminal():
    """80 columns cut the source, 120 show it; indentation that all lines share is dropped."""
    assert """\
ACT.forward  lerobot/policies/act/modeling_act.py
   line      active    reserved  source
    412    9.00 GiB   10.00 GiB  if self.config.use_vae:
*   413   12.00 GiB   13.00 GiB      encoder_out = self.encoder(encoder_in_toke…

ACTEncoderLayer.forward  lerobot/policies/act/modeling_act.py
   line      active    reserved  source
*   557  512.00 MiB   10.00 GiB  x = self.dropout(x)""" == lines_text(LINES)
    assert "encoder_out = self.encoder(encoder_in_tokens, pos_embed=pos_embed)\n" in lines_text(
        LINES, width=120
    )
    assert "" == lines_text(())


@pytest.fixture(scope="module")
def act(small_cell):
    """The small ACT on the CPU, with a batch."""
    workload = build_workload(small_cell, torch.device("cpu"))
    workload.step()
    return workload


def test_lines_of_act_are_found(memory, act):
    """Its forward and that of its encoder layers, by the paths of its spec."""
    functions = forward_functions(
        act.policy, (*policy_spec("act").line_modules, "model.vae_encoder.layers.0")
    )

    lines = profile_lines(functions, lambda: act.policy.forward(act.batch))

    assert ["ACT.forward", "ACTEncoderLayer.forward"] == list(dict.fromkeys(use.function for use in lines))
    assert {"lerobot/policies/act/modeling_act.py"} == {use.file for use in lines}
    assert any("self.self_attn(" in use.source for use in lines)
    with pytest.raises(UsageError, match=r"ACTPolicy has no module 'model\.nothing'"):
        forward_functions(act.policy, ["model.nothing"])


class TwoLines(torch.nn.Module):
    """A policy that takes memory of the fake; in step `fails_in` there is none left."""

    def __init__(self, memory, fails_in):
        super().__init__()
        self.memory, self.fails_in, self.steps = memory, fails_in, 0

    def forward(self):
        self.steps += 1
        self.memory.take(self.steps * MIB)
        if self.steps == self.fails_in:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 76.00 MiB.\nSee the manual.")
        self.memory.take(-self.steps * MIB)


@pytest.fixture
def profiled(memory, monkeypatch):
    """Return the table of a policy of two lines."""

    def profile(*, columns, fails_in=None, paths=("",)):
        spec = replace(policy_spec("act"), line_modules=paths)
        monkeypatch.setattr("actprof.measuring.source_lines.policy_spec", lambda _name: spec)
        monkeypatch.setenv("COLUMNS", str(columns))
        policy = TwoLines(memory, fails_in)
        workload = SimpleNamespace(policy=policy, step=policy)
        device = SimpleNamespace(torch_device=torch.device("cuda"))
        return profile_policy(Request(cell=Cell()), device, lambda _phase: workload)

    return profile


def test_the_table_of_a_policy_shows_its_second_step(profiled):
    """The first, in which cuDNN tries its plans, is left out."""
    shown = profiled(columns=120).splitlines()

    assert "TwoLines.forward  test_source_lines.py" == shown[0]
    assert "*" == shown[3][0]
    assert "2.00 MiB" in shown[3]
    assert shown[3].endswith("self.memory.take(self.steps * MIB)")
    assert 6 == len(shown)


@pytest.mark.parametrize("step", [1, 2])
def test_the_table_of_a_policy_that_runs_out_ends_there(profiled, step):
    """With PyTorch's own first sentence below."""
    shown = profiled(columns=500, fails_in=step)

    assert f"{step}.00 MiB" in shown
    assert shown.endswith("\n\nit ran out of memory: CUDA out of memory. Tried to allocate 76.00 MiB.")
    assert 120 >= max(len(line) for line in shown.splitlines())


def test_a_policy_without_named_modules_is_refused(profiled):
    """The message says where they are named."""
    with pytest.raises(UsageError, match="no module of act is named for a profile by line; add line_modules"):
        profiled(columns=80, paths=())


@pytest.mark.gpu
def test_lines_of_act_hold_memory_on_a_gpu(small_cell):
    """The attention of an encoder layer runs with more bytes than the policy's parameters have."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    workload = build_workload(small_cell, torch.device("cuda"))
    parameters = sum(p.numel() * p.element_size() for p in workload.policy.parameters())

    lines = profile_lines(forward_functions(workload.policy, policy_spec("act").line_modules), workload.step)

    attention = [use for use in lines if "self.self_attn(" in use.source]
    assert attention
    assert all(parameters < use.active_bytes_peak <= use.reserved_bytes_peak for use in attention)
