"""cuDNN asked without a GPU: what an H100 answered, what is kept, and what stands in."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from actprof.cudnn import Architecture, Convolution, answers, library, plans, plans_for
from actprof.cudnn.ask import Plan
from actprof.cudnn.library import CudnnError
from actprof.cudnn.plans import STAND_IN, closed_form
from actprof.cudnn.problem import dense_strides
from actprof.cudnn.split_sums import with_split_sums
from actprof.hardware import all_gpus
from actprof.replay.kernel_bytes import architecture_of

RECORDED = Path(__file__).parents[2] / "reports/accuracy/h100/cudnn-plans.json.gz"
_KINDS = {"fwd": "forward", "dgrad": "image", "wgrad": "weight"}
_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
H100 = Architecture(
    compute_capability=(9, 0), multiprocessors=132, threads_per_multiprocessor=2048,
    clock_khz=1_980_000, memory_clock_khz=2_619_000,
)  # fmt: skip
RTX_3090 = Architecture(
    compute_capability=(8, 6), multiprocessors=82, threads_per_multiprocessor=1536, clock_khz=1_695_000,
    memory_clock_khz=9_751_000,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Ask anew in every test."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path_factory.mktemp("plans")))
    plans._known.cache_clear()


@pytest.fixture(scope="module")
def recorded():
    """Return what one H100 answered for 1,361 convolutions, each with its problem."""
    with gzip.open(RECORDED) as file:
        rows = json.load(file)["rows"]
    return [(problem_of(row), row["plans"]) for row in rows]


def convolution(kind, image, weight, output, **fields):
    """Return a problem of 3x3 kernels with dense tensors."""
    last = fields.pop("last", False)
    defaults = {"dtype": "float32", "padding": (1, 1), "stride": (1, 1), "dilation": (1, 1)}
    return Convolution(
        kind=kind, image=image, weight=weight, output=output, image_strides=dense_strides(image, last=last),
        weight_strides=dense_strides(weight, last=last), output_strides=dense_strides(output, last=last),
        **{**defaults, **fields},
    )  # fmt: skip


LAYER1 = convolution("forward", (8, 64, 120, 160), (64, 64, 3, 3), (8, 64, 120, 160))


def problem_of(row):
    """Return the problem of a recorded row."""
    image, weight, output = (tuple(row[name]) for name in "xwy")
    geometry = {
        name: tuple(row[key]) for name, key in (("padding", "pad"), ("stride", "stride"), ("dilation", "dil"))
    }
    return convolution(
        _KINDS[row["kind"]], image, weight, output, dtype=_DTYPES[row["dt"]], last=bool(row["cl"]), **geometry
    )


def first_allowed(problem, listed, *, deterministic):
    """Return the workspace of the first plan that PyTorch would take of a recorded list."""
    return next(
        size
        for _mode, _engine, size, notes, _knobs in listed
        if size is not None
        and not (problem.dtype == "float32" and 1 in notes)
        and not (deterministic and 4 in notes)
    )


@pytest.mark.parametrize(
    ("kind", "dtype", "image", "channels_out", "expected"),
    [
        ("forward", "float32", (8, 2048, 7, 7), 512, 4_014_096),
        ("weight", "float32", (8, 2048, 7, 7), 512, 4_014_224),
        ("weight", "float32", (8, 512, 7, 7), 2048, 4_014_096),
        ("image", "float32", (8, 512, 7, 7), 2048, 6_373_695),
        ("weight", "float32", (8, 512, 7, 7), 512, 8_388_608),
        ("forward", "float32", (4, 512, 7, 7), 512, 802_832),
        ("forward", "float32", (8, 512, 7, 7), 512, 0),
        ("weight", "bfloat16", (8, 512, 15, 20), 512, 8_388_608),
        ("weight", "bfloat16", (32, 512, 15, 20), 512, 19_660_816),
    ],
)
def test_products_are_those_of_an_h100(kind, dtype, image, channels_out, expected):
    """Of ACT's projection and ResNet-50's last layers, as recorded in whole training runs."""
    output = (image[0], channels_out, *image[2:])
    problem = convolution(kind, image, (channels_out, image[1], 1, 1), output, dtype=dtype, padding=(0, 0))
    (plan,) = plans_for(problem, H100, most=1, deterministic=True)

    assert expected == plan.workspace_bytes


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_first_plan_is_that_of_an_h100(recorded, deterministic):
    """At least 99 % to the byte, 97 % of those without rounding; the rest are small products."""
    apart = []
    for problem, listed in recorded[::4]:
        (plan,) = plans_for(problem, H100, most=1, deterministic=deterministic)
        apart.append(abs(plan.workspace_bytes - first_allowed(problem, listed, deterministic=deterministic)))
    assert sum(size < 512 for size in apart) >= 0.99 * len(apart)
    assert sum(size == 0 for size in apart) >= 0.97 * len(apart)


def test_split_sums_are_what_the_device_says(recorded):
    """Of every plan that splits sums: cuDNN's answer without a device, corrected, is the one with it."""
    different = total = 0
    for problem, listed in recorded[::25]:
        with_device = {_place(engine, knobs): size for _m, engine, size, _n, knobs in listed}
        for plan in plans_for(problem, H100):
            place = _place(plan.engine, {str(kind): value for kind, value in plan.knobs})
            if plan.engine in (62, 65, 67, 68, 71) and place in with_device:
                total += 1
                different += plan.workspace_bytes != with_device[place]
    assert total > 400
    assert 0 == different


def _place(engine, knobs):
    return engine, tuple(
        sorted((kind, value) for kind, value in knobs.items() if kind in {"2", "25", "27", "28", "13", "18"})
    )


def test_other_architectures_keep_what_cudnn_says():
    """Split sums are corrected on 9.0 alone."""
    plan = Plan(67, 1000, deterministic=True, knobs=((2, 0), (13, 0), (25, 0), (27, 1), (28, 1)))
    assert plan == with_split_sums(plan, LAYER1, RTX_3090)
    deep = convolution("forward", (24, 512, 15, 20), (512, 512, 3, 3), (24, 512, 15, 20))
    assert plan == with_split_sums(plan, deep, RTX_3090)
    assert plan != with_split_sums(plan, deep, H100)


@pytest.mark.parametrize(
    "problem",
    [
        LAYER1,
        replace(LAYER1, kind="image"),
        replace(LAYER1, kind="weight"),
        replace(LAYER1, dtype="float16"),
        replace(LAYER1, dtype="bfloat16"),
        convolution("forward", (8, 64, 120, 160), (64, 64, 3, 3), (8, 64, 120, 160), last=True),
        convolution("forward", (8, 64, 60, 80), (64, 16, 3, 3), (8, 64, 60, 80)),  # four groups
        replace(LAYER1, padding=(2, 2), dilation=(2, 2)),
        convolution(
            "forward", (8, 512, 1, 16), (512, 512, 1, 5), (8, 512, 1, 16), padding=(0, 2)
        ),  # of one dimension, with a height of one
        convolution(
            "image", (2, 16, 8, 16, 16), (32, 16, 3, 3, 3), (2, 32, 8, 16, 16),
            padding=(1,) * 3, stride=(1,) * 3, dilation=(1,) * 3,
        ),
    ],
    ids=["forward", "image", "weight", "fp16", "bf16", "channels last", "groups", "dilated", "1d", "3d"],
)  # fmt: skip
def test_every_kind_of_convolution_has_plans(problem):
    """On a described RTX 3090, without a GPU."""
    found = plans_for(problem, RTX_3090)
    assert found
    assert STAND_IN not in {plan.engine for plan in found}
    assert any(plan.deterministic for plan in found)


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
def test_every_card_of_the_catalogue_is_answered_for(gpu):
    """No card falls back to the closed form, and its first plan is asked for alone."""
    assert "" == answers(architecture_of(gpu))
    assert 1 == len(plans_for(LAYER1, architecture_of(gpu), most=1))


def test_a_second_process_asks_nobody(monkeypatch):
    """What was asked is on disk, complete or as far as somebody wanted it."""
    first = plans_for(LAYER1, RTX_3090, most=3)
    every = plans_for(LAYER1, RTX_3090)
    plans._known.cache_clear()
    monkeypatch.setattr(plans, "ask_plans", lambda *_: pytest.fail("cuDNN was asked again"))

    assert first == every[:3] == plans_for(LAYER1, RTX_3090, most=3)
    assert every == plans_for(LAYER1, RTX_3090)


def test_without_cudnn_a_closed_form_stands_in(monkeypatch):
    """And the reason is given."""

    def silent(*_):
        raise CudnnError("there is no cuDNN to ask")

    monkeypatch.setattr(plans, "ask_plans", silent)

    assert (closed_form(LAYER1, RTX_3090),) == plans_for(LAYER1, RTX_3090)
    assert "there is no cuDNN to ask" == answers(RTX_3090)


def test_an_older_cudnn_is_refused(monkeypatch):
    """It answers for no GPU that is not there."""

    class Old:
        class cudnnGetVersion:  # noqa: N801 - cuDNN's own name
            restype = None

            def __new__(cls):
                return 90_701

    library.library.cache_clear()
    monkeypatch.setattr(library.ctypes, "CDLL", lambda *_, **__: Old())
    with pytest.raises(CudnnError, match=r"9\.8 does"):
        library.library()
    library.library.cache_clear()


def test_the_closed_form_is_the_copies_of_all_three_tensors():
    """Of layer1 of ResNet-18 at batch 8: image and output of 39,321,600 bytes, weight of 147,456."""
    plan = closed_form(LAYER1, H100)
    assert 39_321_600 + 147_456 + 39_321_600 + 16 == plan.workspace_bytes
    assert 0 == closed_form(replace(LAYER1), replace(RTX_3090, compute_capability=(7, 5))).workspace_bytes


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_the_closed_form_is_near_the_median_of_the_first_plans(capability):
    """Of ResNet-18's convolutions the sum of workspaces is within a factor of two of cuDNN's own."""
    architecture = replace(H100, compute_capability=capability)
    sizes = [(64, 64, 120, 160), (64, 128, 60, 80), (128, 256, 30, 40), (256, 512, 15, 20)]
    problems = [
        convolution(kind, (8, inner, h, w), (outer, inner, 3, 3), (8, outer, h, w))
        for inner, outer, h, w in sizes
        for kind in _KINDS.values()
    ]
    asked = sum(plans_for(problem, architecture, most=1)[0].workspace_bytes for problem in problems)
    formed = sum(closed_form(problem, architecture).workspace_bytes for problem in problems)
    assert asked / 2 < formed < 2 * asked


ASK_BOTH = """
import sys
from actprof.cudnn import plans_for
from actprof.hardware import find_gpu
from actprof.replay.kernel_bytes import architecture_of
from actprof.cudnn.problem import Convolution, dense_strides

def convolution(channels, size):
    image, weight = (2, channels, size, size), (channels, channels, 3, 3)
    strides = dense_strides(image)
    return Convolution(
        kind="forward", dtype="float32", image=image, weight=weight, output=image, image_strides=strides,
        weight_strides=dense_strides(weight), output_strides=strides, padding=(1, 1), stride=(1, 1),
        dilation=(1, 1),
    )

for card in sys.argv[1:]:
    for channels, size in ((64, 270), (128, 135), (256, 68), (512, 34)):
        found = plans_for(convolution(channels, size), architecture_of(find_gpu(card)), most=3)
        print(card, channels, *((plan.engine, plan.workspace_bytes) for plan in found))
"""


def test_the_first_card_that_a_process_asks_about_decides_nothing(tmp_path):
    """From 10.0 on cuDNN answers otherwise after another card; each process asks of the same one before."""
    answers = []
    for number, cards in enumerate((("B200", "Jetson AGX Thor"), ("Jetson AGX Thor", "B200"))):
        done = subprocess.run(
            [sys.executable, "-c", ASK_BOTH, *cards],
            env={**os.environ, "ACTPROF_CACHE_DIR": str(tmp_path / str(number))},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(sorted(done.stdout.splitlines()))

    assert answers[0] == answers[1]
    assert 8 == len(answers[0])
