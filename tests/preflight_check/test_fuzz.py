"""Random command lines, and files that they name, get an answer or a clear message, never a traceback.

Scenario files: `tests/scenario/test_scenario_fuzz.py`.
"""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actprof import api
from actprof.errors import ActprofError, UsageError
from actprof.preflight_check.flag_table import flag_table
from actprof.results import GpuUse, Result

pytestmark = pytest.mark.usefixtures("act_flags")  # lerobot is not imported while examples are drawn

PREFIXES = ["", "", "", "PYTORCH_ALLOC_CONF=expandable_segments:True", "env A=1", "uv run", "python -m",
            "accelerate launch --num_processes=2", "accelerate launch --mixed_precision bf16 -m", "torchrun",
            "torchrun --nproc_per_node 2 -m", "PYTORCH_CUDA_ALLOC_CONF=nonsense", "srun -N 1", "echo",
            "accelerate launch --use_fsdp", "ACCELERATE_MIXED_PRECISION=fp8", "'", "\\"]  # fmt: skip
PROGRAMS = ["lerobot-train", "lerobot-train", "lerobot-train", "/opt/bin/lerobot-train", "train.py", "",
            "lerobot.scripts.lerobot_train", "src/lerobot_train.py"]  # fmt: skip
TEXTS = st.sampled_from(
    [
        "1",
        "64",
        "0",
        "-1",
        "true",
        "false",
        "null",
        "x",
        "a/b",
        "cpu",
        "resnet34",
        "t4-small",
        "1e9",
        "[",
        "{}",
    ]
) | st.text(max_size=6)
SHAPES = {"cameras": 2, "resolution": "640x480", "state_dim": 6, "action_dim": 6}


@st.composite
def lines(draw):
    """Draw a command line as somebody may type it."""
    flags = [*sorted(flag_table("act").types), "policy.type", "nonsense", "", "config_path", "optimizer.type"]
    chosen = draw(st.lists(st.tuples(st.sampled_from(flags), TEXTS), max_size=5))
    words = [f"--{flag}={text}" for flag, text in chosen]
    if draw(st.integers(0, 3)):
        words += ["--policy.type=act", "--dataset.repo_id=me/x", "--policy.push_to_hub=false"]
    words += draw(st.lists(TEXTS, max_size=1))
    line = " ".join([draw(st.sampled_from(PREFIXES)), draw(st.sampled_from(PROGRAMS))])
    return f"{line} {' '.join(words)}" if draw(st.booleans()) else [*line.split(), *words]


def predicted(cell):
    """Stand where a prediction would take its time."""
    gpu = GpuUse(name="a GPU", capacity_bytes=1 << 34, context_bytes=0)
    return Result(source="predicted", cell=cell, gpu=gpu, verdict="fits", parameters=1)


def ask(line, **shapes):
    """Ask, and return the answer as a script gets it, or the message."""
    with mock.patch("actprof.preflight_check.run_preflight.predict_cell", predicted):
        try:
            return json.dumps(api.preflight(line, gpu="RTX 3090", **shapes).to_json(), allow_nan=False)
        except ActprofError as error:
            return str(error).strip()


def test_read_by_hand():
    """What lerobot would have to read is left out here, so that there is time for many."""

    def refuse(*_arguments, **_options):
        raise UsageError("left to lerobot")

    @settings(max_examples=1700, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(lines())
    def check(line):
        assert ask(line, **SHAPES)

    with mock.patch("actprof.preflight_check.read_command.read_with_lerobot", refuse):
        check()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(lines())
def test_read_by_lerobot(line):
    """With lerobot's own parser for what is not read by hand."""
    assert ask(line, **SHAPES)


CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
VECTOR = {"dtype": "float32", "shape": [6]}
INFO = {
    "features": {"observation.images.front": CAMERA, "observation.state": VECTOR, "action": VECTOR},
    "total_frames": 9,
}
LAUNCH = {
    "num_processes": 2, "mixed_precision": "bf16", "distributed_type": "MULTI_GPU", "use_cpu": False,
    "dynamo_config": {"dynamo_backend": "NO"}, "gradient_accumulation_steps": 2,
}  # fmt: skip
RESIZE = {"type": "Resize", "weight": 1.0, "kwargs": {"size": [9, 9]}}
CONFIG = {
    "dataset": {
        "repo_id": "me/x",
        "image_transforms": {"enable": True, "max_num_transforms": 1, "tfs": {"resize": RESIZE}},
    },
    "policy": {"type": "act", "push_to_hub": False, "chunk_size": 5, "n_action_steps": 5},
    "optimizer": {"type": "adamw", "lr": 1e-4}, "job": {"target": None}, "batch_size": 4, "steps": 5,
}  # fmt: skip
ODD = st.sampled_from([None, 1, 0, -1, 1.5, "x", "", [], {}, [1], {"a": 1}, True, "3", ["a"], 1e300])


@st.composite
def spoilt(draw, data):
    """Draw `data` with one or two of its values replaced, or keys left out or added."""
    copy = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 2))):
        place = copy
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or not place[key] or not draw(st.integers(0, 2)):
                break
            place = place[key]
        place[key] = json.loads(json.dumps(draw(ODD)))
        if isinstance(place, dict) and draw(st.integers(0, 3)) == 0:
            del place[key]
            place["zz"] = 1
    return copy


@pytest.mark.parametrize(
    ("data", "file", "line", "examples"),
    [
        (INFO, "meta/info.json", "lerobot-train {least} --dataset.root={folder}", 200),
        (LAUNCH, "accelerate.yaml", "accelerate launch --config_file {file} lerobot-train {least}", 200),
        (CONFIG, "train_config.json", "lerobot-train --config_path={file}", 100),
    ],
    ids=["dataset", "launcher", "config"],
)
def test_files_that_a_command_names(tmp_path, data, file, line, examples):
    """A dataset's description, a launcher's file and a saved config, each spoilt in one place or two."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    least = "--policy.type=act --policy.push_to_hub=false --dataset.repo_id=me/x"
    command = line.format(least=least, folder=tmp_path, file=path)
    shapes = {} if data is INFO else SHAPES

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(spoilt(data))
    def check(some):
        path.write_text(json.dumps(some), encoding="utf-8")
        assert ask(command, **shapes)

    check()
