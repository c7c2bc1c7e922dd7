"""What a trace says of the work of the real ACT: FLOPs as torch counts them, bytes as its tensors are."""

from __future__ import annotations

from actprof.cell import Cell
from actprof.step_time.step import update_rows
from actprof.trace.cache import trace_for


def test_flops_equal_those_of_torchs_flop_counter(small_cell):
    """Forward, backward and optimizer of one real update."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from actprof.policies.workload import build_workload

    workload = build_workload(small_cell, torch.device("cpu"))
    workload.step()
    with FlopCounterMode(display=False) as counter:
        workload.step()
    trace, _cached = trace_for(small_cell)
    rows = update_rows(trace)
    size = small_cell.batch_size
    traced = trace.ops.flops_constant[rows] + size * trace.ops.flops_per_sample[rows]

    assert counter.get_total_flops() == int(traced.sum())


# Ops that do not read all that they are given, by what they are given and do not read.
UNREAD = {
    "aten.zeros_like": "a tensor for its shape",
    "aten.ones_like": "a tensor for its shape",
    "aten.randn_like": "a tensor for its shape",
    "aten.max_pool2d_with_indices_backward": "the input; the indices say enough of it",
}


def memory(tensors):
    """Return the bytes of each piece of memory among the tensors, repeated elements once."""
    import torch

    pieces = {}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor):
            once = tensor[tuple(slice(0, 1 if step == 0 else None) for step in tensor.stride())]
            key = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride())
            pieces[key] = once.numel() * tensor.element_size()
    return pieces


def law(func, args, kwargs, out):
    """Return (bytes of all inputs, bytes of all outputs); `(a!)` marks arguments that an op changes."""
    from torch.utils._pytree import tree_leaves

    given = [*args, *kwargs.values()]
    signs = [part.split(" ")[0] for part in str(func._schema).split("(", 1)[1].split(", ")]
    changed = [value for value, sign in zip(args, signs, strict=False) if "!" in sign]
    return sum(memory(tree_leaves(given)).values()), sum(memory(tree_leaves([changed, out])).values())


def test_bytes_are_inputs_once_and_outputs_once(monkeypatch):
    """Worked out anew from the tensors of every op of the ACT trace; the exceptions read less, not other."""
    from actprof.trace import record, recorder

    counted = recorder.bytes_moved
    seen = set()

    def checked(func, args, kwargs, out):
        name = str(func._overloadpacket)
        found = counted(func, args, kwargs, out)
        read, written = law(func, args, kwargs, out)
        seen.add(name)
        if name in UNREAD:
            assert written <= found < read + written, name
        else:
            assert read + written == found, name
        return found

    monkeypatch.setattr(recorder, "bytes_moved", checked)
    recording = record.record(Cell(batch_size=8), sources=False)

    assert 2500 < len(recording.recorder.op_bytes)
    assert set(UNREAD) <= seen
