"""The stand-in does in `update_policy` what accelerate's `Accelerator` does there."""

import pytest
import torch
from torch import nn

from actprof.policies.accelerator import StepAccelerator


def one_step(prepare, precision):
    """Train one step of a small model as `update_policy` does; return loss, gradients, norm and weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    accelerator, model, optimizer = prepare(model, optimizer, precision)
    with accelerator.autocast():
        output = model.forward(torch.ones(3, 4))
        loss = output.pow(2).mean()
    accelerator.backward(loss)
    gradients = [p.grad.clone() for p in model.parameters()]
    norm = accelerator.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    optimizer.zero_grad()
    return (
        output.dtype,
        loss,
        gradients,
        norm,
        [p.detach() for p in accelerator.unwrap_model(model).parameters()],
    )


def ours(model, optimizer, precision):
    accelerator = StepAccelerator(device_type="cpu")
    accelerator.prepare(model, optimizer, precision=precision)
    return accelerator, model, optimizer


def accelerates(model, optimizer, precision):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, mixed_precision={"fp32": "no"}.get(precision, precision))
    return accelerator, *accelerator.prepare(model, optimizer)


@pytest.fixture(autouse=True)
def _accelerates_state():
    from accelerate.state import AcceleratorState, GradientState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_that_of_accelerate(precision):
    """Loss, gradients, their norm and the updated weights are equal bit for bit."""
    expected, actual = one_step(accelerates, precision), one_step(ours, precision)
    assert expected[0] == actual[0] == torch.float32
    assert torch.equal(expected[1], actual[1])
    assert torch.equal(expected[3], actual[3])
    for index in (2, 4):
        assert all(torch.equal(a, b) for a, b in zip(expected[index], actual[index], strict=True))


def test_fp16_scales_the_loss_and_takes_every_step():
    """Gradients are unscaled before they are clipped; the weights move, step after step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerator, model, optimizer = ours(model, optimizer, "fp16")
    for _ in range(2):
        before = model.weight.detach().clone()
        with accelerator.autocast():
            loss = model.forward(torch.ones(3, 4)).pow(2).mean()
        accelerator.backward(loss)
        scaled = model.weight.grad.clone()
        accelerator.clip_grad_norm_(model.parameters(), 1e9)
        assert scaled.abs().sum() > 1000 * model.weight.grad.abs().sum() > 0
        optimizer.step()
        optimizer.zero_grad()
        assert not torch.equal(before, model.weight)


def test_autocast_is_on_without_a_gpu_and_off_afterwards():
    """`torch.autocast` would switch itself off."""
    model = nn.Linear(2, 2)
    accelerator = StepAccelerator(device_type="cuda")
    accelerator.prepare(model, torch.optim.SGD(model.parameters()), precision="bf16")
    before = torch.get_autocast_dtype("cuda")
    with accelerator.autocast():
        assert torch.is_autocast_enabled("cuda")
        assert torch.bfloat16 == torch.get_autocast_dtype("cuda")
    assert not torch.is_autocast_enabled("cuda")
    assert before == torch.get_autocast_dtype("cuda")


def test_how_gradients_are_computed_is_handed_in():
    """The trace walks the graph itself; the phase is told."""
    seen, phases = [], []

    class Phase:
        def __init__(self, name):
            phases.append(name)

        def __enter__(self):
            return None

        def __exit__(self, *_exc):
            return None

    accelerator = StepAccelerator(device_type="cpu", backward=seen.append, phase=Phase)
    accelerator.backward(torch.tensor(2.0))
    assert [2.0] == [loss.item() for loss in seen]
    assert ["backward"] == phases
