"""The CUDA device that does not exist, and what is as it was when it is left."""

import pytest
import torch
from torch import nn
from torch.cuda.amp import common as amp_common
from torch.utils.checkpoint import checkpoint
from watched import watch

from actprof.trace.fake import fake_cuda
from actprof.trace.model import PHASES
from actprof.trace.recorder import Recorder
from actprof.trace.reverse import reverse_pass
from actprof.trace.saved_tensors import saving_tensors


def test_tensors_live_on_a_device_that_is_not_there():
    """ATen takes CUDA's decisions: dropout is one fused kernel with a mask of one byte per element."""
    with fake_cuda(), Recorder("cuda") as recorder:
        x = torch.ones(4, 8, device="cuda")
        y = nn.functional.dropout(x, 0.5)
    assert y.device == torch.device("cuda", 0)
    assert ["aten.ones.default", "aten.native_dropout.default"] == recorder.op_names
    assert [128, 32, 128] == recorder.sizes  # the mask comes before the result


def test_a_module_moves_children_first_and_shares_what_it_shared():
    """Parameters keep their order, dtype and whether they are trained; integer buffers keep theirs."""
    with fake_cuda():
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        model[0].bias.requires_grad_(requires_grad=False)
        model.to("cuda", torch.float16)
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert names == [name for name, _parameter in model.named_parameters()]
    assert {"cuda"} == {t.device.type for t in [*model.parameters(), *model.buffers()]}
    assert [True, False, True, True] == [p.requires_grad for p in model.parameters()]
    assert {torch.float16} == {p.dtype for p in model.parameters()}
    assert model[1].num_batches_tracked.dtype == torch.int64


def test_a_parameter_that_modules_share_stays_one():
    """Also where a module that shares it is reached twice; what is converted is converted once."""
    with fake_cuda():
        inner = nn.Linear(4, 6, bias=False)
        model = nn.ModuleList([nn.Sequential(inner), nn.Linear(4, 6, bias=False), nn.Sequential(inner)])
        model[1].weight = inner.weight
        with Recorder("cuda") as recorder:
            model.to("cuda")
            model.half()
    assert model[1].weight is inner.weight
    assert torch.float16 == inner.weight.dtype
    assert [4 * 24, 2 * 24] == recorder.sizes


def test_a_conversion_on_the_device_frees_each_parameter_before_the_next():
    """As `param.data = converted` does there: a policy is never there twice."""
    with fake_cuda(), Recorder("cuda") as recorder:
        model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)).to("cuda").half()
    assert [1, 2, 3, 4, 5, -1, 6, -2, 7, -3, 8, -4] == recorder.events[:12]
    assert torch.float16 == model[1].bias.dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_on_where_a_checkpoint_enters_it_again(dtype):
    """The second run makes what the first made: without a GPU `torch.autocast` would switch itself off."""
    with fake_cuda(), Recorder("cuda") as recorder, torch.autocast("cuda", dtype):
        x = torch.ones(4, 8, device="cuda", requires_grad=True)
        layer = nn.Linear(8, 16).to("cuda")
        with recorder.phase("forward"), saving_tensors():
            loss = checkpoint(lambda x: layer(x).relu(), x, use_reentrant=False).sum()
        with recorder.phase("backward"):
            reverse_pass(loss)
    products = [row for row, name in enumerate(recorder.op_names) if name == "aten.addmm.default"]
    assert ["forward", "backward"] == [PHASES[recorder.op_phases[row]] for row in products]
    made = zip(recorder.tensor_ops, recorder.dtypes, strict=True)
    assert [dtype, dtype] == [made_in for row, made_in in made if row in products and made_in is not None]


def test_no_layer_is_skipped_at_random():
    """A draw on the host that decides it is more than any probability; other draws are tensors."""
    with fake_cuda():
        assert not torch.rand([]) < 1.0
        assert not torch.rand(()) < 1.0
        assert ((3,), ()) == (tuple(torch.rand(3).shape), tuple(torch.rand((), device="cuda").shape))


def test_optimizers_choose_their_foreach_kernels():
    """As on a GPU, where they are the default."""
    with fake_cuda(), Recorder("cuda") as recorder:
        weights = [torch.ones(4, device="cuda", requires_grad=True) for _ in range(3)]
        optimizer = torch.optim.AdamW(weights)
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    assert {"aten._foreach_norm.Scalar", "aten._foreach_addcdiv_.ScalarList"} <= set(recorder.op_names)


@pytest.mark.parametrize("shape", [(5, 3, 8), (3, 8), (8,)], ids=["3-D", "2-D", "1-D"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_does_what_it_does_without_a_mode(shape, transposed, bias):
    """A bias that cannot be fused is added in place; gradients and allocations are those of `at::linear`."""

    def run(backward):
        torch.manual_seed(0)
        layer = nn.Linear(shape[-1], 6, bias=bias)
        x = torch.randn(shape[::-1] if transposed else shape, requires_grad=True)
        layer.weight = nn.Parameter(torch.randn(6, x.shape[0] if transposed else x.shape[-1]))
        y = layer(x.permute(*reversed(range(x.dim()))) if transposed else x)
        outputs.append(y.detach().clone())
        backward(y.pow(2).sum())
        return [x.grad, layer.weight.grad]

    outputs = []
    plain = watch(lambda mark: (mark(), run(lambda loss: loss.backward())))
    with fake_cuda():
        linear = torch.nn.functional.linear
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", linear)
        patched = watch(lambda mark: (mark(), run(lambda loss: loss.backward())))
    names = [
        [op for op in w.ops if op[0] in ("aten::add", "aten::add_", "aten::addmm")] for w in (plain, patched)
    ]
    assert names[0] == names[1]
    assert plain.memory == patched.memory
    assert torch.equal(*outputs)


def test_under_autocast_linear_adds_its_bias_in_place_too():
    """What it computes, and the gradients, are those of torch; no second result is allocated."""

    def run(device):
        layer, x = nn.Linear(8, 6).to(device), torch.ones(5, 3, 8, device=device).transpose(0, 1)
        with saving_tensors(), torch.autocast(device, dtype=torch.bfloat16):
            y = torch.nn.functional.linear(x, layer.weight, layer.bias)
            loss = y.float().sum()
        reverse_pass(loss)
        return y, layer.bias.grad

    with fake_cuda(), Recorder("cuda") as recorder:
        y, gradient = run("cuda")
    assert (3, 5, 6) == y.shape
    assert torch.bfloat16 == y.dtype
    assert (6,) == gradient.shape
    assert "aten.add_.Tensor" in recorder.op_names
    assert "aten.add.Tensor" not in recorder.op_names
    with fake_cuda():
        linear = torch.nn.functional.linear
    torch.manual_seed(0)
    expected = run("cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", linear)
        torch.manual_seed(0)
        for one, other in zip(expected, run("cpu"), strict=True):
            assert torch.equal(one, other)


def test_fake_accumulation_is_in_place_as_on_a_gpu():
    """Fake tensors have no holders of their own that would make a gradient look shared."""

    def step(device):
        w = torch.ones(4, 4, device=device, requires_grad=True)
        with saving_tensors():
            h = w * 2
            loss = (h * h + h.exp() + h).sum()
        reverse_pass(loss)

    recorders = []
    for device in ("cpu", "cuda"):
        with fake_cuda(), Recorder(device) as recorder:
            step(device)
        recorders.append(recorder)
    with Recorder("cpu") as real:
        step("cpu")
    for fake in recorders:
        assert real.op_names == fake.op_names
        seen = [e > 0 for e in fake.events if abs(e) - 1 not in fake.problems]
        assert [e > 0 for e in real.events] == seen
        assert [s for s in real.sizes if s > 8] == [s for s in fake.sizes if s > 8]
    # The first gradient of `h` is an expanded one, into which nothing can be added.
    assert real.op_names.count("aten.add_.Tensor") == 2


def test_everything_is_as_it_was_after_leaving():
    """Nothing stays patched, whether or not something went wrong inside."""
    before = _patched()
    with pytest.raises(ValueError, match="inside"), fake_cuda():
        raise ValueError("inside")
    assert before == _patched()
    assert not isinstance(torch.ones(1), torch._subclasses.FakeTensor)


def _patched():
    from torch._subclasses import fake_tensor
    from torch.optim import optimizer
    from torch.utils import _foreach_utils

    return (
        nn.Module._apply,
        nn.functional.linear,
        torch.cuda.is_available,
        torch.cuda.is_bf16_supported,
        amp_common.amp_definitely_not_available,
        fake_tensor.init_gpu_context,
        optimizer._foreach_supported_types,
        _foreach_utils._foreach_supported_types,
    )


def test_a_gpu_that_is_there_is_left_alone(monkeypatch):
    """Whether a GPU is there makes no difference to a trace."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with fake_cuda():
        assert not torch.cuda.is_available()
        torch.ones(1, device="cuda")
    assert not torch.cuda.is_initialized()
