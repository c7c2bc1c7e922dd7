"""Random command lines get an answer or a clear message, never a traceback."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actprof import api
from actprof.errors import ActprofError, UsageError
from actprof.launch.field_table import field_table
from actprof.results import GpuUse, Result

pytestmark = pytest.mark.usefixtures("flag_table")  # lerobot is not imported while examples are drawn

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
    flags = [*sorted(field_table().types), "policy.type", "nonsense", "", "config_path", "optimizer.type"]
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


def ask(line):
    """Ask, and return the answer or the message."""
    with mock.patch("actprof.launch.preflight.predict_cell", predicted):
        try:
            return api.preflight(line, gpu="RTX 3090", **SHAPES)
        except ActprofError as error:
            return str(error).strip()


def test_read_by_hand():
    """What lerobot would have to read is left out here, so that there is time for many."""

    def refuse(*_arguments, **_options):
        raise UsageError("left to lerobot")

    @settings(max_examples=1700, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(lines())
    def check(line):
        assert ask(line)

    with mock.patch("actprof.launch.read_command.read_with_lerobot", refuse):
        check()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(lines())
def test_read_by_lerobot(line):
    """With lerobot's own parser for what is not read by hand."""
    assert ask(line)
