"""What would make a step faster, said of what limits it and of what the cell does already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.prediction.limits import gpu_time_text, limited_text, variant_rates, what_helps
from actprof.prediction.step_parts import KIND_NAMES, component_parts, kind_parts
from actprof.results import GpuUse, KindCost, Result, StepWork
from actprof.step_time import kernel
from actprof.step_time.variants import COMPILED, GRAPHS

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


def timed(limit, *, host, device, idle=0.0, **parts):
    """Return the result of a step whose GPU computes for seven tenths of the time that it is busy."""
    busy = 1 - idle
    shares = {"launches": idle, "arithmetic": 0.7 * busy, "bandwidth": 0.3 * busy}
    work = StepWork(
        device_seconds=device, host_seconds=host, busy_share=busy, bytes_per_sample=1, shares=shares, **parts
    )
    return replace(RESULT, work=work, limited_by=limit)


def test_the_limit_comes_first_with_the_seconds_of_both():
    """Where the host takes longer, nothing is said of what the GPU would wait for."""
    assert "kernel launches: the host needs 1.00 s, the GPU is busy for 600 ms" == limited_text(
        timed("launches", host=1.0, device=0.6, idle=0.4)
    )
    assert (
        "arithmetic: the GPU is busy for 1.00 s (arithmetic 70%, memory bandwidth 30%), the host needs 100 ms"
        == limited_text(timed("arithmetic", host=0.1, device=1.0, idle=0.05))
    )
    assert "" == limited_text(RESULT)


def test_waiting_for_data_is_said_with_its_share_of_the_loop():
    """First where it is the limit, else last."""
    step = timed("launches", host=1.0, device=0.6, idle=0.4)
    said = limited_text(step)

    assert f"data loading 50% of the time; of a step {said}" == limited_text(
        step, limited_by="data", data_share=0.5
    )
    assert f"{said}; data loading 20% of the time" == limited_text(
        step, limited_by="launches", data_share=0.2
    )


def test_the_gpus_time_is_told_by_kind_and_component():
    """Kinds that differ in their rates only are one; the largest come first, small ones are left out."""
    names = ("convolution", "layout conversion", "layout conversion of few channels", *"abcd")
    seconds = (0.4, 0.2, 0.25, 0.06, 0.04, 0.03, 0.02)
    kinds = tuple(
        KindCost(kind=name, kernels=1, seconds=it, flops=0, bytes=0)
        for name, it in zip(names, seconds, strict=True)
    )
    components = {"encoder": 0.7, "optimizer": 0.3}
    work = timed("arithmetic", host=0.1, device=1.0, kinds=kinds, components=components).work

    assert (
        "layout conversions 45%, convolutions 40%, a 6%, b 4%, c 3%; by component: encoder 70%, optimizer 30%"
        == gpu_time_text(work)
    )
    assert "" == gpu_time_text(timed("arithmetic", host=0.1, device=1.0).work)


@pytest.mark.parametrize("most", [1, 2, 3, 6, 7])
def test_parts_add_up_to_the_gpus_time(most):
    """However many are shown, the last sums up the rest."""
    kinds = tuple(
        KindCost(kind=name, kernels=i, seconds=0.1 * i, flops=i, bytes=i) for i, name in enumerate("abcdef")
    )
    work = timed("bandwidth", host=0.1, device=1.5, kinds=kinds, components={"a": 0.1, "b": 1.0, "c": 0.4})
    shown, components = kind_parts(work.work, most), component_parts(work.work, most)

    assert min(most, len(kinds)) == len(shown)
    assert (15, pytest.approx(1.5)) == (sum(c.kernels for c in shown), sum(c.seconds for c in shown))
    assert min(most, 3) == len(components)
    assert 1.5 == pytest.approx(sum(components.values()))
    assert list(components.values())[:-1] == sorted(list(components.values())[:-1], reverse=True)


def test_every_kind_of_kernel_has_a_name_for_readers():
    """None is left to its rates' name."""
    kinds = {value for name, value in vars(kernel).items() if name.isupper()}
    assert kinds == set(KIND_NAMES)


def test_variants_are_told_as_samples_per_second():
    """Of a band its slower end first; what helps against launches has the rate of CUDA graphs."""
    step = timed(
        "launches", host=1.0, device=0.5, idle=0.5,
        variants={GRAPHS: (0.5, 0.5), COMPILED: (0.25, 0.8)},
    )  # fmt: skip

    assert {GRAPHS: (64, 64), COMPILED: (40, 128)} == variant_rates(step)
    assert any(text.endswith("(64.0 samples/s by the graphs alone)") for text in what_helps("launches", step))
    assert any(text.endswith("(40.0 to 128 samples/s)") for text in what_helps("bandwidth", step))
    larger = replace(RESULT, cell=Cell(batch_size=64), samples_per_second=99.0)
    assert what_helps("launches", step, larger=larger)[0].endswith("(batch 64: 99.0 samples/s)")


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
