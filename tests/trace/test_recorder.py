"""The recorder writes down every allocation, free and launch, and whose it is."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from watched import SCALAR, watch

from actprof.cudnn import Convolution
from actprof.trace.fake import fake_cuda
from actprof.trace.fake_streams import fake_streams
from actprof.trace.model import KINDS, PHASES
from actprof.trace.recorder import Recorder
from actprof.trace.reverse import reverse_pass
from actprof.trace.rules.work import CUBLAS, CUBLASLT, blas_route
from actprof.trace.saved_tensors import saving_tensors

aten = torch.ops.aten


def kinds_of(recorder):
    return [KINDS[kind] for kind in recorder.kinds]


def live_bytes(recorder, more_than=0):
    """Bytes of allocations of `more_than` so many bytes that are alive after each event."""
    total, totals = 0, []
    for event in recorder.events:
        size = recorder.sizes[abs(event) - 1]
        total += (size if size > more_than else 0) * (1 if event > 0 else -1)
        totals.append(total)
    return totals


# -- allocations and frees ---------------------------------------------------------------------------------


def test_allocations_and_frees_are_written_in_order():
    """A tensor is born with its op and dies with its last name."""
    with Recorder("cpu") as recorder:
        a = torch.ones(4)
        b = a + a
        del a
        c = b * b
        del b, c
    assert [1, 2, -1, 3, -2, -3] == recorder.events
    assert [16, 16, 16] == recorder.sizes
    assert ["aten.ones.default", "aten.add.Tensor", "aten.mul.Tensor"] == recorder.op_names
    assert [0, 1, 2] == recorder.tensor_ops


def test_views_launch_and_allocate_nothing():
    """A view keeps its base alive, and that is all."""
    with Recorder("cpu") as recorder:
        a = torch.zeros(4, 6)
        view = a.view(6, 4)[1:].t()
        del a
        assert [1] == recorder.events
        del view
    assert [1, -1] == recorder.events
    assert ["aten.zeros.default"] == recorder.op_names


def test_an_in_place_op_launches_but_allocates_nothing():
    """Writing is work."""
    with Recorder("cpu") as recorder:
        a = torch.zeros(4)
        a.add_(1)
    assert ["aten.zeros.default", "aten.add_.Tensor"] == recorder.op_names
    assert [1] == [event for event in recorder.events if event > 0]


def test_what_is_not_on_the_device_is_not_written_down():
    """Tensors of the host take no device memory, and their ops are no launches."""
    with fake_cuda(), Recorder("cuda") as recorder:
        host = torch.zeros(8)
        host.add_(1)
        host.sum().item()
        device = host.to("cuda")
        empty = torch.empty(0, device="cuda")
    assert device.device.type == empty.device.type == "cuda"
    assert [32] == recorder.sizes
    assert ["aten._to_copy.default"] == recorder.op_names


def test_an_op_with_several_outputs_allocates_each():
    """Lists and tuples of outputs are searched."""
    with Recorder("cpu") as recorder:
        values, indices = torch.arange(6.0).topk(2)
        pieces = torch._foreach_add([values, values], 1.0)
    assert indices.shape == pieces[0].shape
    assert [24, 8, 16, 8, 8] == recorder.sizes
    assert [0, 1, 1, 2, 2] == recorder.tensor_ops


def test_nothing_is_written_after_stop():
    """What dies after the recording belongs to nobody."""
    with Recorder("cpu") as recorder:
        a = torch.ones(4)
        recorder.stop()
    del a
    assert [1] == recorder.events


# -- whose it is -------------------------------------------------------------------------------------------


class Pair(nn.Module):
    """Two linear layers, the second inside a block."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.block = nn.Sequential(nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.block(self.first(x)) * 2


@pytest.fixture
def recorded_step():
    """Record one training step of `Pair` on the CPU."""
    recorder = Recorder("cpu")
    with recorder, saving_tensors(lambda tensor: recorder.mark(tensor, "activations")):
        model = Pair()
        for parameter in model.parameters():
            recorder.mark(parameter, "parameters")
        optimizer = torch.optim.Adam(model.parameters(), foreach=False)
        with recorder.origins.watching(model):
            with recorder.phase("data"):
                x = torch.ones(3, 4)
            with recorder.phase("update"):
                with recorder.phase("forward"):
                    loss = model(x).pow(2).mean()
                with recorder.phase("backward"):
                    reverse_pass(
                        loss,
                        on_node=recorder.origins.enter_node,
                        on_gradient=lambda gradient: recorder.mark(gradient, "gradients"),
                    )
                    recorder.origins.leave_nodes()
                optimizer.step()
                for state in optimizer.state.values():
                    for value in state.values():
                        recorder.mark(value, "optimizer state")
    return recorder, model


def test_forward_ops_belong_to_the_module_that_runs(recorded_step):
    """The innermost module counts; what the outer one does itself is its own."""
    recorder, _model = recorded_step
    forward = [
        (name.split(".")[1], module)
        for name, module, phase in zip(
            recorder.op_names, recorder.op_modules, recorder.op_phases, strict=True
        )
        if PHASES[phase] == "forward"
    ]
    expected = [
        ("addmm", "first"),
        ("relu", "block.0"),
        ("addmm", "block.1"),
        ("mul", ""),
        ("pow", ""),
        ("mean", ""),
    ]
    assert expected == forward


def test_backward_ops_belong_to_the_module_whose_forward_made_their_node(recorded_step):
    """Gradients of a layer are made on its account."""
    recorder, _model = recorded_step
    backward = [
        (name.split(".")[1], module)
        for name, module, phase in zip(
            recorder.op_names, recorder.op_modules, recorder.op_phases, strict=True
        )
        if PHASES[phase] == "backward" and name.split(".")[1] in ("mm", "threshold_backward")
    ]
    expected = [("mm", "block.1"), ("mm", "block.1"), ("threshold_backward", "block.0"), ("mm", "first")]
    assert expected == backward


def test_a_module_that_runs_again_in_backward_is_named():
    """Checkpointed modules do their second forward on their own account."""
    recorder = Recorder("cpu")
    block = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid())
    with recorder, recorder.origins.watching(block), saving_tensors():
        loss = checkpoint(block, torch.ones(2, 4), use_reentrant=False).sum()
        before = len(recorder.op_names)
        reverse_pass(loss, on_node=recorder.origins.enter_node)
        recorder.origins.leave_nodes()
    again = list(zip(recorder.op_names[before:], recorder.op_modules[before:], strict=True))
    assert ("aten.addmm.default", "0") in again
    assert ("aten.sigmoid.default", "1") in again


def test_phases_and_steps_are_marked(recorded_step):
    """Phases nest: after the backward pass the update goes on as `optimizer`."""
    recorder, _model = recorded_step
    starts, phases = zip(*recorder.phase_starts, strict=True)
    assert ["setup", "data", "forward", "backward", "optimizer", "setup"] == [
        PHASES[phase] for phase in phases
    ]
    assert sorted(set(starts)) == list(starts)
    assert len(recorder.step_starts) == len(recorder.update_starts) == 1
    assert recorder.step_starts[0] < recorder.update_starts[0]


def test_every_kind_of_tensor_is_told_apart(recorded_step):
    """Parameters, inputs, activations, gradients and optimizer state have the sizes that they must have."""
    recorder, model = recorded_step
    parameters = sum(p.numel() * 4 for p in model.parameters())
    kinds = kinds_of(recorder)

    def total(kind):
        return sum(size for size, name in zip(recorder.sizes, kinds, strict=True) if name == kind)

    steps = 4 * len(list(model.parameters()))  # Adam counts its steps per parameter
    assert parameters == total("parameters")
    assert parameters == total("gradients")
    assert 2 * parameters + steps == total("optimizer state")
    assert 3 * 4 * 4 == total("inputs")
    # The output of `first` (for its ReLU, in effect), that of the ReLU, and what `pow` squares.
    assert total("activations") >= 3 * 8 * 4 + 3 * 2 * 4


def test_an_activation_does_not_overrule_what_was_known():
    """A parameter that is saved for backward stays a parameter."""
    with Recorder("cpu") as recorder:
        weight = torch.ones(4)
        recorder.mark(weight, "parameters")
        recorder.mark(weight, "activations")
        recorder.mark(torch.ones(2)[:1], "gradients")
    assert ["parameters", "gradients"] == kinds_of(recorder)


# -- what is known of each tensor and op -------------------------------------------------------------------


def test_shape_and_dtype_are_those_of_the_output_that_brought_the_storage():
    """A view that comes later does not change them."""
    with Recorder("cpu") as recorder:
        a = torch.zeros(4, 6, dtype=torch.float16)
        values, indices = a.view(24).float().topk(3)
    assert values.shape == indices.shape
    assert [(4, 6), (24,), (3,), (3,)] == recorder.shapes
    assert [torch.float16, torch.float32, torch.float32, torch.int64] == recorder.dtypes


def test_a_free_names_the_op_that_was_launched_last():
    """What is never freed has none; what a kernel takes for itself goes with its op."""
    with Recorder("cpu") as recorder:
        a = torch.ones(4)
        b = a + a
        del a
        c = b * b
        c = c.relu()
    assert c.shape == b.shape
    rows = [recorder.op_names[row] if row >= 0 else "" for row in recorder.freed_by]
    assert ["aten.add.Tensor", "", "aten.relu.default", ""] == rows


def test_every_free_is_named_in_the_reverse_pass(recorded_step):
    """What a node lets go of is freed after an op of the reverse pass, the events say the same."""
    recorder, _model = recorded_step
    freed = {-event - 1 for event in recorder.events if event < 0}
    assert freed == {tensor for tensor, row in enumerate(recorder.freed_by) if row >= 0}
    for tensor in freed:
        assert recorder.freed_by[tensor] >= recorder.tensor_ops[tensor]
        if KINDS[recorder.kinds[tensor]] == "activations":
            assert "backward" == PHASES[recorder.op_phases[recorder.freed_by[tensor]]]


def test_an_owner_is_kept_beside_the_kind():
    """Of what owns nothing there is none."""
    with Recorder("cpu") as recorder:
        weight, other = torch.ones(4), torch.ones(4)
        recorder.mark(weight, "parameters", owner="a.weight")
        recorder.mark(other, "parameters")
    assert {0: "a.weight"} == recorder.owners


def test_lines_are_noted_where_they_are_asked_for():
    """Ops of the reverse pass have the line whose forward made their node; views in between are no matter."""
    lines = {}
    for sources in (True, False):
        recorder = Recorder("cpu", sources=sources)
        with recorder, saving_tensors():
            first, second = nn.Linear(4, 8), nn.Conv1d(8, 2, 1)
            loss = second(first(torch.ones(3, 5, 4)).transpose(1, 2)).sum()
            forward = len(recorder.op_names)
            reverse_pass(loss, on_node=recorder.origins.enter_node)
            recorder.origins.leave_nodes()
            loss.detach().add(1)
        by_op = zip(recorder.op_names, recorder.op_sites, strict=True)
        lines[sources] = [
            (row >= forward, name.split(".")[1], site[0].partition(":")[0])
            for row, (name, site) in enumerate(by_op)
        ]
    linear, conv = "torch/nn/modules/linear.py", "torch/nn/modules/conv.py"
    assert (False, "convolution", conv) in lines[True]
    assert (True, "convolution_backward", conv) in lines[True]
    assert (True, "mm", linear) in lines[True]
    assert (True, "add", "") == lines[True][-1]
    assert {""} == {file for _backward, _name, file in lines[False]}


def test_a_module_that_runs_again_in_backward_has_its_own_lines():
    """A checkpointed block's second forward is on the stack."""
    recorder = Recorder("cpu", sources=True)
    block = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid())
    with recorder, recorder.origins.watching(block), saving_tensors():
        loss = checkpoint(block, torch.ones(2, 4), use_reentrant=False).sum()
        before = len(recorder.op_names)
        reverse_pass(loss, on_node=recorder.origins.enter_node)
        recorder.origins.leave_nodes()
    again = {
        name: line.partition(":")[0]
        for name, (line, _caller) in zip(recorder.op_names[before:], recorder.op_sites[before:], strict=True)
    }
    assert "torch/nn/modules/activation.py" == again["aten.sigmoid.default"]
    assert "torch/nn/modules/activation.py" == again["aten.sigmoid_backward.default"]


# -- values that no one has --------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bool, True), (torch.int64, 1), (torch.float32, 1.0)])
def test_a_value_that_is_asked_for_is_a_hint(dtype, expected):
    """`.item()` lets the usual control flow go on, and is a wait for the device."""
    with fake_cuda(), Recorder("cuda") as recorder:
        value = torch.zeros((), dtype=dtype, device="cuda").item()
    assert (expected, type(expected)) == (value, type(value))
    assert [False, True] == recorder.op_syncs


def test_a_real_value_is_read():
    """On real tensors nothing is made up."""
    with Recorder("cpu"):
        assert torch.tensor(3.0).item() == 3.0
        assert [[1], [3]] == torch.tensor([0, 5, 0, 5]).nonzero().tolist()


@pytest.mark.parametrize(
    ("program", "shape", "dtype"),
    [
        (lambda x: (x > 0).nonzero(), (12, 2), torch.int64),
        (lambda x: x.masked_select(x > 0), (12,), torch.float16),
        (
            lambda x: x.masked_select(torch.ones(2, 1, 1, dtype=torch.bool, device="cuda")),
            (24,),
            torch.float16,
        ),
    ],
    ids=["nonzero", "masked_select", "masked_select with a broadcast mask"],
)
def test_a_size_that_depends_on_data_is_the_largest_that_it_can_be(program, shape, dtype):
    """The result says so; all but it and the mask is the kernel's own; the host waits for the count."""
    with fake_cuda(), Recorder("cuda") as recorder:
        x = torch.zeros(3, 4, dtype=torch.float16, device="cuda")
        before = len(recorder.sizes)
        out = program(x)
    assert (shape, dtype) == (tuple(out.shape), out.dtype)
    made = [size for size, made in zip(recorder.sizes, recorder.shapes, strict=True) if made is not None]
    assert out.numel() * out.element_size() == made[-1]
    assert before + len(["the mask", "the result"]) == len(made)
    assert recorder.op_names[-1].startswith(("aten.nonzero", "aten.masked_select"))
    assert recorder.op_syncs[-1]
    assert "depends on the data" in next(iter(recorder.notes))


@pytest.mark.parametrize(
    ("program", "shapes"),
    [
        (torch.unique, [(12,)]),
        (lambda x: torch.unique(x, return_inverse=True), [(12,), (3, 4)]),
        (lambda x: torch.unique(x, return_counts=True), [(12,), (12,)]),
        (lambda x: torch.unique(x, dim=1), [(3, 4)]),
        (lambda x: torch.unique(x, dim=1, return_counts=True), [(3, 4), (4,)]),
    ],
)
def test_all_values_may_be_distinct(program, shapes):
    """The most that there can be, with their places and counts where these are asked for."""
    with fake_cuda(), Recorder("cuda") as recorder:
        found = program(torch.zeros(3, 4, device="cuda"))
    assert shapes == [tuple(tensor.shape) for tensor in (found if isinstance(found, tuple) else (found,))]
    assert recorder.op_syncs[-1]


# -- kernels -----------------------------------------------------------------------------------------------


def test_convolution_backward_makes_its_inputs_dense():
    """CuDNN wants dense tensors: each of the two gradients takes a copy, inside the op, on a GPU only."""
    for device, expected in (("cuda", 2), ("cpu", 0)):
        with fake_cuda(), Recorder(device) as recorder:
            x, w = torch.ones(2, 3, 8, 8, device=device), torch.ones(4, 3, 3, 3, device=device)
            grad = torch.ones(2, 4, 6, 1, device=device).expand(2, 4, 6, 6)
            count = len(recorder.events)
            transposed = False
            kept = aten.convolution_backward(
                grad, x, w, [0], [1, 1], [0, 0], [1, 1], transposed, [0, 0], 1, [True, True, False]
            )
            during = recorder.events[count:]
        assert kept[0].shape == x.shape
        freed = [-event - 1 for event in during if event < 0 and -event - 1 not in recorder.problems]
        assert [grad.numel() * 4] * expected == [recorder.sizes[tensor] for tensor in freed]


@pytest.mark.parametrize(
    ("func", "args", "expected"),
    [
        (aten.mm.default, (torch.ones(3, 4), torch.ones(4, 5)), CUBLAS),
        (aten.bmm.default, (torch.ones(2, 3, 4), torch.ones(2, 4, 5)), CUBLAS),
        (aten.addmm.default, (torch.ones(5), torch.ones(3, 4), torch.ones(4, 5)), CUBLASLT),
        (aten.addmm.default, (torch.ones(3, 5), torch.ones(3, 4), torch.ones(4, 5)), CUBLAS),
        (aten.addmm.default, (torch.ones(1), torch.ones(3, 4), torch.ones(4, 1)), CUBLAS),
        (aten.addmm.default, (torch.ones(10)[::2], torch.ones(3, 4), torch.ones(4, 5)), CUBLAS),
        (aten.add.Tensor, (torch.ones(3), torch.ones(3)), 0),
    ],
    ids=["mm", "bmm", "bias", "matrix", "one column", "strided bias", "no product"],
)
def test_a_product_goes_through_the_library_that_pytorch_takes(func, args, expected):
    """A bias that can be fused goes through cuBLASLt, every other product through cuBLAS."""
    assert expected == blas_route(func, args)


def test_flops_are_those_of_the_flop_counter():
    """Forward and backward of attention, convolution and linear layers add up to torch's own count."""

    def program(backward):
        attention, conv = nn.MultiheadAttention(8, 2), nn.Conv2d(1, 4, 3)
        x = torch.ones(5, 3, 8)
        h = attention(x, x, x)[0] + nn.Linear(8, 8)(x)
        backward(h.sum() + conv(torch.ones(2, 1, 8, 8)).sum())

    with FlopCounterMode(display=False) as counter:
        program(lambda loss: loss.backward())
    with Recorder("cpu") as recorder, saving_tensors():
        program(reverse_pass)
    assert counter.get_total_flops() == sum(recorder.op_flops) > 0


def test_bytes_are_inputs_read_once_and_outputs_written_once():
    """The traffic of an op without any cache."""
    with Recorder("cpu") as recorder:
        a = torch.ones(4, 4)
        torch.cat([a, a.half().float()])
    assert [64, 64 + 32, 32 + 64, 64 + 64 + 128] == recorder.op_bytes


# -- a recording beside the real thing ---------------------------------------------------------------------


def test_the_live_bytes_are_those_that_the_cpu_allocator_saw():
    """On a program of simple kernels the recorder's peak is that of the profiler."""

    def program():
        w = torch.ones(32, 32, requires_grad=True)
        h = w @ w
        for _ in range(3):
            h = (h * w).relu() + w
        return h.sum()

    unwatched = watch(lambda mark: (mark(), program().backward()))
    with Recorder("cpu") as recorder, saving_tensors():
        reverse_pass(program())
    assert unwatched.peak_bytes == max(live_bytes(recorder, more_than=SCALAR))


def test_every_convolution_asks_cudnn_for_a_workspace():
    """Forward, input gradient and weight gradient; the same problem again is the same."""
    with fake_cuda(), Recorder("cuda") as recorder:
        conv = nn.Conv2d(3, 4, 3, bias=False).to("cuda")
        for size in (8, 8, 16):
            image = torch.zeros(2, 3, size, size, device="cuda", requires_grad=True)
            with saving_tensors():
                loss = conv(image).sum()
            reverse_pass(loss)

    asked = [problem for problem, _part in recorder.problems.values() if isinstance(problem, Convolution)]
    assert ["forward", "image", "weight"] * 3 == [problem.kind for problem in asked]
    assert asked[:3] == asked[3:6]
    assert not set(asked[:3]) & set(asked[6:])


def test_the_cpu_asks_cudnn_for_nothing():
    """Convolutions on the CPU are solved without it, and reductions without a buffer."""
    with Recorder("cpu") as recorder:
        nn.Conv2d(3, 4, 3)(torch.zeros(1, 3, 8, 8)).sum()

    assert {} == recorder.problems


def test_a_storage_that_is_emptied_is_freed_and_may_come_back():
    """As FSDP does with gathered parameters: 0 bytes free it, more allocate anew, of its kind and owner."""
    with Recorder("cpu") as recorder:
        gathered = torch.zeros(100)
        view = gathered[:50]
        recorder.mark(gathered, "parameters", owner="weight")
        gathered.untyped_storage().resize_(0)
        recorder.mark(gathered, "gradients")  # nothing is there
        gathered.untyped_storage().resize_(400)
        view.fill_(1)  # nothing new
        gathered.untyped_storage().resize_(400)  # nothing changes
        gathered.untyped_storage().resize_(800)  # the new one comes before the old one goes
        del view
        gathered.untyped_storage().resize_(0)
        del gathered  # it holds nothing

    assert [1, -1, 2, 3, -2, -3] == recorder.events
    assert [400, 400, 800] == recorder.sizes
    assert {"parameters"} == {KINDS[kind] for kind in recorder.kinds}
    assert dict.fromkeys(range(3), "weight") == recorder.owners
    assert [torch.float32] * 3 == recorder.dtypes
    names = [recorder.op_names[op] for op in recorder.tensor_ops]
    assert ["aten.zeros.default", "storage.resize_", "storage.resize_"] == names
    assert "resize_" not in vars(torch.UntypedStorage)


def test_a_storage_of_another_device_may_be_resized():
    """It is none of ours; nor is anything after the recording has stopped."""
    with Recorder("cuda") as recorder:
        torch.zeros(4).untyped_storage().resize_(0)
    with Recorder("cpu") as stopped:
        kept = torch.zeros(4)
        stopped.stop()
        kept.untyped_storage().resize_(0)

    assert [] == recorder.events
    assert [1] == stopped.events


def test_an_allocation_has_the_stream_that_asked_for_it():
    """A stream that is entered names the allocations inside; the innermost counts."""
    with fake_streams(), Recorder("cpu") as recorder:
        side, other = torch.cuda.Stream(priority=-1), torch.cuda.Stream()
        tensors = [torch.zeros(4)]
        with torch.cuda.stream(side):
            tensors.append(torch.zeros(4))
            with torch.cuda.stream(other):
                tensors.append(torch.zeros(4))
            with torch.cuda.stream(None):  # as PyTorch has it, the current one
                tensors.append(torch.zeros(4))
        event = torch.cuda.current_stream().record_event()
        side.wait_event(event)
        tensors.append(torch.zeros(4))

    assert [0, 1, 2, 1, 0] == recorder.streams
    assert event.query()
