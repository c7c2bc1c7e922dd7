"""What would make a step faster, said of what limits it and of what the cell does already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.prediction.limits import limit_shares, what_helps
from actprof.results import GpuUse, Result, StepWork

RESULT = Result(
    source="predicted", cell=Cell(batch_size=32),
    gpu=GpuUse(name="RTX 3090", capacity_bytes=1, context_bytes=0), max_batch_size=57,
)  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("launches", ("a larger batch", "CUDA graphs")),
        ("arithmetic", ("resized in the loader", "bf16", "TF32")),
        ("bandwidth", ("fused_attention", "smaller images", "bf16")),
        ("data", ("--num_workers", "torchcodec", "recorded")),
        ("", ()),
    ],
)
def test_each_limit_has_its_help(limit, words):
    """Workers, resizing, a larger batch, CUDA graphs, TF32 and bf16, each where it helps."""
    said = " ".join(what_helps(limit, RESULT))
    assert [] == [word for word in words if word not in said]
    assert bool(words) == bool(said)


def test_what_is_done_already_is_not_advised():
    """Half precision, fused attention, and the largest batch that fits."""
    half = replace(RESULT, cell=replace(RESULT.cell, precision="bf16"))
    fused = replace(RESULT, cell=replace(RESULT.cell, changes=("fused_attention",)))
    full = replace(RESULT, max_batch_size=32)

    assert not any("bf16" in text for text in what_helps("arithmetic", half))
    assert not any("fused_attention" in text for text in what_helps("bandwidth", fused))
    assert not any("larger batch" in text for text in what_helps("launches", full))


def test_a_card_without_bf16_is_not_told_of_it():
    """A T4 has no such tensor cores."""
    old = replace(RESULT, gpu=replace(RESULT.gpu, name="T4"))
    assert not any("bf16" in text for text in what_helps("arithmetic", old))
    unknown = replace(RESULT, gpu=replace(RESULT.gpu, name="a card of mine"))
    assert any("bf16" in text for text in what_helps("arithmetic", unknown))


def test_waiting_for_data_takes_its_share_of_the_loop():
    """Of a loop that waits half of its time, the step's shares are halves."""
    shares = {"launches": 0.0, "arithmetic": 0.7, "bandwidth": 0.3}
    work = StepWork(device_seconds=1.0, host_seconds=0.1, busy_share=1.0, bytes_per_sample=1, shares=shares)
    timed = replace(RESULT, work=work)

    assert "arithmetic 70%, memory bandwidth 30%" == limit_shares(timed)
    assert "data loading 50%, arithmetic 35%, memory bandwidth 15%" == limit_shares(timed, data_share=0.5)


def test_a_policy_that_decides_its_dtype_is_told_of_its_own_field():
    """Precision comes from pi0's config alone; in bf16 already, it is told nothing."""
    pi0 = replace(RESULT, cell=Cell(policy="pi0"))
    half = replace(RESULT, cell=Cell(policy="pi0", overrides={"dtype": "bfloat16"}))

    assert any("bf16 (--policy.dtype=bfloat16)" in text for text in what_helps("arithmetic", pi0))
    assert not any("bf16" in text for text in what_helps("arithmetic", half))


@pytest.mark.parametrize(
    ("cell", "advised"),
    [
        (Cell(), True),
        (Cell(cameras=0, environment_dim=4), False),
        (Cell(policy="smolvla"), False),
        (Cell(policy="smolvla", overrides={"resize_imgs_with_padding": None}), True),
        (Cell(policy="diffusion"), True),
        (Cell(policy="diffusion", overrides={"resize_shape": [96, 96]}), False),
    ],
    ids=[
        "ACT",
        "without cameras",
        "SmolVLA",
        "SmolVLA at its frames' size",
        "Diffusion",
        "Diffusion resized",
    ],
)
def test_smaller_images_are_advised_only_where_the_policy_keeps_their_size(cell, advised):
    """What a policy brings to a size of its own is no smaller inside for being smaller outside."""
    said = what_helps("bandwidth", replace(RESULT, cell=cell))
    assert advised == any("smaller images" in text for text in said)


def test_attention_without_maps_is_named_by_the_change_that_fits():
    """SmolVLA's attention is no module of torch; Diffusion has none."""
    found = {
        policy: [
            text
            for text in what_helps("bandwidth", replace(RESULT, cell=Cell(policy=policy)))
            if "maps" in text
        ]
        for policy in ("act", "smolvla", "diffusion")
    }
    assert {"act": ["fused_attention"], "smolvla": ["fused_expert_attention"], "diffusion": []} == {
        policy: [text.partition("--change ")[2].rstrip(")") for text in texts]
        for policy, texts in found.items()
    }
