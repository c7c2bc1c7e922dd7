"""Attention on a GPU that is not there takes the kernels that a GPU takes."""

from dataclasses import replace

import pytest
import torch

from actprof.policies import policy_spec
from actprof.policies.changes import fitting_changes
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record
from actprof.trace.recorder import Recorder

EFFICIENT = "aten._scaled_dot_product_efficient_attention.default"
FLASH = "aten._scaled_dot_product_flash_attention.default"


def kernels(recording):
    """Return the attention kernels by the module that called them."""
    recorder = recording.recorder
    rows = zip(recorder.op_names, recorder.op_modules, recorder.op_phases, strict=True)
    return {module: name for name, module, phase in rows if phase == 2 and name in (EFFICIENT, FLASH)}


@pytest.mark.parametrize(("precision", "kernel"), [("fp32", EFFICIENT), ("bf16", FLASH), ("fp16", FLASH)])
def test_dtype_and_mask_choose_the_kernel(small_cell, precision, kernel):
    """Half precision takes flash attention, but for the VAE encoder, whose padding mask it cannot take."""
    recording = record(replace(small_cell, precision=precision, changes=("fused_attention",)))
    chosen = kernels(recording)

    assert {"model.encoder.layers.0.self_attn", "model.vae_encoder.layers.0.self_attn"} <= set(chosen)
    assert {kernel} == {name for module, name in chosen.items() if "vae_encoder" not in module}
    assert {EFFICIENT} == {name for module, name in chosen.items() if "vae_encoder" in module}
    assert "aten._softmax.default" not in recording.recorder.op_names
    assert f"{kernel.removesuffix('.default')}_backward.default" in recording.recorder.op_names


def test_without_the_change_no_fused_kernel_is_taken(small_cell):
    """As ACT stands, it asks for the weights."""
    assert {} == kernels(record(small_cell))


def test_odd_heads_fall_back_to_plain_products():
    """A head of six floats is not a multiple of 16 bytes."""
    with fake_cuda():
        query = torch.zeros(2, 3, 5, 6, device="cuda")
        out = torch.nn.functional.scaled_dot_product_attention(query, query, query)

    assert (2, 3, 5, 6) == tuple(out.shape)


@pytest.mark.parametrize(
    ("dtype", "masked", "keys", "kernel"),
    [
        (torch.bfloat16, False, 2, FLASH),
        (torch.bfloat16, True, 2, "aten._safe_softmax.default"),
        (torch.float32, False, 2, "aten._safe_softmax.default"),
        (torch.float32, True, 4, EFFICIENT),
        (torch.bfloat16, True, 4, EFFICIENT),
    ],
)
def test_heads_that_share_keys_take_no_efficient_kernel(dtype, masked, keys, kernel):
    """Flash attention takes them as they are; with a mask, or at fp32, they are copied for plain products."""
    with fake_cuda(), Recorder("cuda") as recorder:
        query = torch.zeros(2, 4, 16, 32, device="cuda", dtype=dtype)
        key = torch.zeros(2, keys, 16, 32, device="cuda", dtype=dtype)
        mask = torch.ones(2, 1, 16, 16, device="cuda", dtype=torch.bool) if masked else None
        out = torch.nn.functional.scaled_dot_product_attention(query, key, key, mask, enable_gqa=True)

    assert (2, 4, 16, 32) == tuple(out.shape)
    chosen = [name for name in recorder.op_names if "softmax" in name or name in (EFFICIENT, FLASH)]
    assert [kernel] == chosen


def test_a_causal_mask_of_fewer_queries_than_keys_takes_no_flash_attention():
    """Whose mask would begin elsewhere (`check_flash_causal_non_square_seqlens`)."""
    with fake_cuda(), Recorder("cuda") as recorder:
        query, key = (torch.zeros(2, 4, n, 32, device="cuda", dtype=torch.bfloat16) for n in (8, 16))
        out = torch.nn.functional.scaled_dot_product_attention(query, key, key, is_causal=True)

    assert out.shape == query.shape
    assert EFFICIENT in recorder.op_names


def test_real_tensors_are_left_to_torch():
    """Inside the fake, a CPU tensor takes torch's own way."""
    query = torch.rand(2, 3, 5, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    from actprof.trace.rules.attention import scaled_dot_product_attention

    assert torch.equal(expected, scaled_dot_product_attention(query, query, query))


@pytest.mark.parametrize(
    "change", sorted(change.name for change in fitting_changes(policy_spec("act").parts))
)
def test_changed_workloads_trace_replay_and_add_up(small_cell, change):
    """Every change gives a trace that repeats, one for all batch sizes, whose holders add up."""
    from actprof.prediction.predict import predict_cell
    from actprof.trace.cache import trace_for

    cell = replace(small_cell, batch_size=4, gpu="RTX 3090", changes=(change,))
    result = predict_cell(cell)
    trace, _ = trace_for(cell)

    assert ("fits", None) == (result.verdict, trace.fixed_batch_size)
    assert trace.carried is not None
    assert result.breakdown.allocated_bytes == sum(result.breakdown.by_kind.values())
    assert result.flops_per_sample > 0
    assert not result.max_batch_size % cell.micro_batches
