"""What kernels take inside, op by op: the same sequence of allocations that one H100 recorded."""

# ruff: noqa: FBT003 - ATen's ops take flags by their place
from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from actprof.hardware import find_gpu
from actprof.replay.kernel_bytes import Kernels, architecture_of, sizes_of
from actprof.trace.cache import trace_for
from actprof.trace.fake import fake_cuda
from actprof.trace.recorder import Recorder
from actprof.trace.reverse import reverse_pass
from actprof.trace.rules.steps import Output
from actprof.trace.rules.temporaries import PLAIN, UNRULED, ruled_ops, steps_inside

aten = torch.ops.aten
RECORDED = Path(__file__).parents[2] / "reports/accuracy/h100/ops.json.gz"
_DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def layer_norm(x, w, b):
    return aten.native_layer_norm(x, [x.shape[-1]], w, b, 1e-5)


def layer_norm_both(g, x, w, b):
    _out, mean, deviation = kept = layer_norm(x, w, b)
    wanted = [True, True, True]
    return aten.native_layer_norm_backward(g, x, [x.shape[-1]], mean, deviation, w, b, wanted), kept


def group_norm(x, w, b, groups=8):
    return aten.native_group_norm(x, w, b, *x.shape[:2], x[0, 0].numel(), groups, 1e-5)


def group_norm_both(g, x, w, b, groups=8):
    _out, mean, deviation = kept = group_norm(x, w, b, groups)
    shape = (*x.shape[:2], x[0, 0].numel())
    wanted = [True, True, True]
    return aten.native_group_norm_backward(g, x, mean, deviation, w, *shape, groups, wanted), kept


def efficient_both(q):
    out, rows, seed, offset = aten._scaled_dot_product_efficient_attention(q, q, q, None, True)
    wanted = [True, True, True, False]
    return aten._scaled_dot_product_efficient_attention_backward(
        out, q, q, q, None, out, rows, seed, offset, 0.0, wanted
    )


def max_pool_both(x):
    out, indices = aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])
    return aten.max_pool2d_with_indices_backward(out, x, [3, 3], [2, 2], [1, 1], [1, 1], False, indices), out


def embedding_backward(g, rows):
    picked = torch.randint(0, rows, g.shape[:2], device=g.device)
    return aten.embedding_dense_backward(g, picked, rows, -1, False)


def put(x, *, accumulate):
    return torch.zeros_like(x).index_put_((torch.arange(len(x), device=x.device),), x, accumulate)


PROGRAMS = {
    "native_dropout": lambda x: aten.native_dropout(x, 0.1, True),
    "native_dropout_b": lambda x: aten.native_dropout(x, 0.1, True),
    "_softmax": lambda x: aten._softmax(x, -1, False),
    "_softmax_backward_data": lambda g, o: aten._softmax_backward_data(g, o, -1, o.dtype),
    "_softmax_backward_data_dim1": lambda g, o: aten._softmax_backward_data(g, o, 1, o.dtype),
    "_softmax_backward_data_t": lambda g, o: aten._softmax_backward_data(g, o.mT, -1, o.dtype),
    "_log_softmax": lambda x: aten._log_softmax(x, -1, False),
    "_log_softmax_backward_data": lambda g, o: aten._log_softmax_backward_data(g, o, -1, o.dtype),
    "native_layer_norm": layer_norm,
    "native_layer_norm_fb": layer_norm_both,
    "native_group_norm_1d": group_norm,
    "native_group_norm_fb_1d": group_norm_both,
    "gelu_backward": aten.gelu_backward.default,
    "mse_loss_none": lambda x, y: aten.mse_loss(x, y, 0),
    "max_pool": lambda x: aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1]),
    "max_pool_fb": max_pool_both,
    "avg_pool2d": lambda x: functional.avg_pool2d(x, 2),
    "cat2": lambda x: torch.cat([x, x]),
    "cat8": lambda x: torch.cat([x] * 8, 1),
    "cat200": lambda x: torch.cat([x] * 200, 1),
    "cat_mixed": lambda x, y: torch.cat([x, y.transpose(0, 1)], 1),
    "stack": lambda x: torch.stack([x] * 3),
    "sdpa_eff_fb": efficient_both,
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "randn": torch.randn_like,
    "addmm": lambda b, x, y: torch.addmm(b, x, y.t()),
    "bmm": torch.bmm,
    "roll": lambda x: torch.roll(x, 1, 1),
    "tril": torch.tril,
    "copy_nc": lambda x: x.transpose(1, 2).contiguous(),
    "embedding_bw": lambda g: embedding_backward(g, 1000),
    "embedding_bw_small": lambda g: embedding_backward(g, 2),
    "embedding_bw_big": lambda g: embedding_backward(g, 49_280),
    "index_tensor": lambda x: x[:, torch.arange(7, device=x.device)],
    "index_put": lambda x: put(x, accumulate=False),
    "index_put_acc": lambda x: put(x, accumulate=True),
    "cumsum": lambda x: torch.cumsum(x, -1),
    "cumsum0": lambda x: torch.cumsum(x, 0),
}
# By masks: how many elements they pick is data.
MASKED = {
    "mask_index": lambda x: x[x[:, :, 0] > 0],
    "nonzero": lambda x: torch.nonzero(x > 0),
    "masked_select": lambda x: x.masked_select(x > 0),
}


def rows(programs=PROGRAMS):
    """Return the recorded ops that a program above repeats."""
    with gzip.open(RECORDED) as file:
        found = json.load(file)["rows"]
    return [row for row in found if row[0] in programs]


def played(program, shapes, dtype):
    """Return the allocations (positive) and frees of `program` on an H100, in order."""
    kernels = Kernels(architecture=architecture_of(find_gpu("H100 80 GB")), benchmark=False)
    with fake_cuda(), Recorder("cuda") as recorder:
        inputs = [torch.empty(shape, device="cuda", dtype=dtype) for shape in shapes]
        before = len(recorder.events)
        kept = program(*inputs)
        events = recorder.events[before:]
        del kept
    sizes = list(recorder.sizes)
    for tensor, (problem, part) in recorder.problems.items():
        sizes[tensor] = sizes_of(problem, kernels)[part]
    signed = [sizes[abs(event) - 1] * (1 if event > 0 else -1) for event in events]
    return [size for size in signed if size]


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_allocations_are_those_that_an_h100_recorded(name):
    """In three dtypes, at two shapes each."""
    cases = [row for row in rows() if row[0] == name]
    assert cases
    for _name, dtype, shapes, _outputs, recorded in cases:
        expected = [size for size in recorded if size > 0]
        found = played(PROGRAMS[name], shapes, _DTYPES[dtype])
        assert expected == [size for size in found if size > 0], (dtype, shapes)


def test_a_softmax_that_minds_masked_rows_takes_their_flags():
    """As an H100 recorded of attention between X-VLA's channels: 16 x 64 rows of 32."""
    found = played(lambda x: aten._safe_softmax(x, -1), [[16, 64, 32]], torch.float32)
    assert [131072, 32768, 1024, 4, -4, -1024, -32768] == found


@pytest.mark.parametrize("name", sorted(MASKED))
def test_masks_take_what_an_h100_recorded_but_for_how_many_they_pick(name):
    """Each allocation and free in its place; of what depends on the data the most that it can be."""
    for _name, dtype, shapes, _outputs, recorded in rows([name]):
        found = played(MASKED[name], shapes, _DTYPES[dtype])
        picked = set(map(abs, recorded)) - set(map(abs, found))
        for was, said in zip(recorded, found, strict=True):
            assert was == said or (abs(was) in picked and 1 < said / was)
        assert len(picked) <= 2  # positions, and what stands there


def test_a_norm_of_many_tensors_takes_a_sum_for_each_chunk():
    """Before its results: of ten tensors of four chunks each, forty floats."""
    with fake_cuda(), Recorder("cuda") as recorder:
        tensors = [torch.empty(512, 512, device="cuda") for _ in range(10)]
        before = len(recorder.sizes)
        kept = aten._foreach_norm(tensors, 2)
    assert [10 * 4 * 4, *[4] * 10] == recorder.sizes[before:]
    assert 10 == len(kept)
    assert -(before + 1) in recorder.events


def test_a_sum_of_flags_is_a_sum_of_integers():
    """They become int64 first, and the reduction is one of eight bytes."""
    with fake_cuda(), Recorder("cuda") as recorder:
        flags = torch.ones(64, 100, dtype=torch.bool, device="cuda")
        before = len(recorder.sizes)
        flags.sum()
    assert [8, 64 * 100 * 8, 0, 0] == recorder.sizes[before:]
    (problem, part), (_same, other) = recorder.problems.values()
    assert (8, 8, 0, 1) == (problem.element_bytes, problem.accumulator_bytes, part, other)


@pytest.mark.parametrize("inner", ["contiguous", "transposed"])
def test_a_layer_norm_makes_its_inputs_dense(inner):
    """The input before its results; in the reverse pass the gradient behind them."""
    with fake_cuda(), Recorder("cuda") as recorder:
        x = torch.empty(4, 3, 8, device="cuda")
        g = torch.empty(4, 3, 8, device="cuda")
        x, g = (x.transpose(0, 1), g.transpose(0, 1)) if inner == "transposed" else (x, g)
        before = len(recorder.sizes)
        out, mean, deviation = aten.native_layer_norm(x, [8], None, None, 1e-5)
        middle = len(recorder.sizes)
        kept = aten.native_layer_norm_backward(g, x, [8], mean, deviation, None, None, [True, False, False])
    copy = [4 * 3 * 8 * 4] if inner == "transposed" else []
    assert [*copy, 384, 48, 48] == recorder.sizes[before:middle]
    assert [*copy, 384, *copy] == recorder.sizes[middle:]
    assert out.shape == kept[0].shape


@pytest.mark.parametrize(("dims", "copies"), [(1, 1), (2, 2)])
def test_a_convolution_of_one_dimension_makes_its_gradient_dense_once(dims, copies):
    """Before all else; of two dimensions it does so for each of the two gradients that it gives."""
    kernel, shape = [1] * dims, (4, 6, *[8] * dims)
    with fake_cuda(), Recorder("cuda") as recorder:
        image = torch.empty(shape, device="cuda")
        weight = torch.empty(6, 6, *kernel, device="cuda")
        gradient = torch.empty(*shape[2:], 4, 6, device="cuda").movedim((-2, -1), (0, 1))
        before = len(recorder.events)
        kept = aten.convolution_backward(
            gradient, image, weight, [0], kernel, [0] * dims, kernel, False, [0] * dims, 1,
            [True, True, False],
        )  # fmt: skip
        sizes = [recorder.sizes[event - 1] for event in recorder.events[before:] if event > 0]
    dense = image.numel() * 4

    assert 1 + copies == sizes.count(dense)
    assert dense == sizes[0]
    assert 3 == len(kept)


def test_the_gradient_of_a_squared_difference_is_dense():
    """Whatever its inputs are (`zeros_like` in BinaryOps.cpp), so that what is behind it has to copy it."""
    with fake_cuda(), Recorder("cuda"):
        given = torch.empty(4, 6, 8, device="cuda").transpose(1, 2)
        found = aten.mse_loss_backward(torch.empty_like(given), given, torch.empty_like(given), 0)

    assert found.is_contiguous()


def test_the_reverse_of_an_index_adds_up_in_place():
    """On a GPU; tensors of a class of their own would add up into a second one."""
    with fake_cuda(), Recorder("cuda") as recorder:
        table = torch.empty(9, 4, device="cuda", requires_grad=True)
        picked = table[torch.zeros(5, dtype=torch.int64, device="cuda")].sum()
        with recorder.phase("backward"):
            reverse_pass(picked)

    assert "aten._index_put_impl_.default" in recorder.op_names
    assert 1 == [recorder.sizes[event - 1] for event in recorder.events if event > 0].count(9 * 4 * 4) - 1


def test_every_output_has_its_place():
    """A rule that forgets an output would lose its memory; one that names it twice would count none twice."""
    with fake_cuda(), Recorder("cuda"):
        x = torch.empty(2, 16, 8, 8, device="cuda")
        for func, args in (
            (aten.native_dropout.default, (x, 0.5, True)),
            (aten.native_group_norm.default, (x, None, None, 2, 16, 64, 4, 1e-5)),
            (aten.max.dim, (x, 1)),
            (aten.var_mean.correction, (x, [0])),
        ):
            out = func(*args)
            steps = steps_inside(func, args, {}, out)
            assert set(range(len(out))) == {step.index for step in steps if isinstance(step, Output)}


# -- the table of docs/kernels.md ---------------------------------------------------------------------------


DOCS = Path(__file__).parents[2] / "docs/kernels.md"


def sections():
    """Return the ops that each section of the page names in its tables or lists."""
    parts = DOCS.read_text(encoding="utf-8").split("\n## ")[1:]
    named = {}
    for part in parts:
        title, _, text = part.partition("\n")
        cells = [line.split("|")[1] if line.startswith("|") else line for line in text.splitlines()]
        lines = [
            cell for cell, line in zip(cells, text.splitlines(), strict=True) if line.startswith(("|", "`"))
        ]
        named[title] = set(re.findall(r"`([\w.]+)`", " ".join(lines)))
    return named


def test_the_page_says_what_the_rules_say():
    """Every op with a rule, every op without one, every op that takes nothing: neither more nor less."""
    rules, unruled, plain = sections().values()
    assert ruled_ops() == rules
    assert set(UNRULED) == unruled
    assert plain == PLAIN
    assert len(rules) + len(unruled) + len(plain) == len(rules | unruled | plain)


def test_somebody_has_looked_at_every_op_of_the_real_policy(small_cell):
    """So no assumption names one."""
    trace, _cached = trace_for(small_cell)
    names = {name.split(".")[1] for name in trace.ops.names}
    assert names <= ruled_ops() | PLAIN | set(UNRULED)
    assert not [text for text in trace.assumptions if "nobody has looked at" in text]


def test_an_op_that_nobody_has_looked_at_is_named():
    """In the trace's assumptions, which every result carries."""
    with fake_cuda(), Recorder("cuda") as recorder:
        torch.empty(4, 4, device="cuda").erfinv()
    assert ["nobody has looked at what aten.erfinv.default takes inside on a GPU"] == list(recorder.notes)


def test_scattering_by_a_mask_counts_the_places_before_each():
    """A copy of the tensor, eight bytes for each place, and the mask made dense where it is repeated."""
    with fake_cuda(), Recorder("cuda") as recorder:
        tensor, source = torch.zeros(4, 256, device="cuda"), torch.ones(1024, device="cuda")
        mask = torch.ones(4, 1, dtype=torch.bool, device="cuda")
        before = len(recorder.sizes)
        _ = tensor.masked_scatter(mask, source)

    assert [4 * 1024, 8 * 1024, 1024] == recorder.sizes[before:]
