"""The command line without torch, lerobot and cuDNN: answers, or one line on what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Python reads this file when it starts, workers included.
HIDE = """
import importlib.abc, importlib.metadata as metadata, sys

HIDDEN = ("torch", "lerobot", "torchvision", "accelerate", "transformers", "diffusers", "nvidia.cudnn",
          "draccus", "datasets", "pytorch_memlab", "huggingface_hub", "bitsandbytes", "peft")

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == hidden or name.startswith(hidden + ".") for hidden in HIDDEN):
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

def hiding(ask):
    def answer(name):
        if name.startswith(("torch", "lerobot", "nvidia-c", "transformers", "diffusers", "pytorch", "peft")):
            raise metadata.PackageNotFoundError(name)
        return ask(name)
    return answer

sys.meta_path.insert(0, Hidden())
metadata.version, metadata.requires = hiding(metadata.version), hiding(metadata.requires)
"""
TRAIN = (
    "preflight", "--gpu", "RTX 3090", "--cameras", "2", "--resolution", "640x480",
    "--state-dim", "6", "--action-dim", "6", "--", "lerobot-train",
    "--policy.type=act", "--dataset.repo_id=me/it", "--policy.push_to_hub=false",
    "--batch_size=16",
)  # fmt: skip
SCENARIO = """
policy: act
gpu: RTX 3090
sweep:
  resolution: [640x480, 224x224]
  batch_size: [8, 64]
  cameras: [1, 2]
"""
RECORDING = str(Path(__file__).parents[1] / "data" / "expandable-oom.pickle")


@pytest.fixture
def light(tmp_path):
    """Run actprof in a folder of its own, without what is hidden; return the finished process."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    (tmp_path / "grid.yaml").write_text(SCENARIO)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ACTPROF_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "actprof", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--version",), "not installed; shipped traces are of"),
        (("gpus",), "RTX 3090"),
        (("policies",), "smolvla"),
        (("predict", "--batch-size", "16"), "It fits."),
        (("explain", "--batch-size", "16"), "By module"),
        (("suggest", "--batch-size", "64"), "images of 224x224"),
        (("params",), "51,597,190 parameters"),
        (TRAIN, "It fits."),
        (("sweep", "grid.yaml"), "report.html"),
        (("replay", RECORDING), "events replayed"),
        (("accuracy",), "allocated memory"),
        (("schema",), "$schema"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_answers_from_what_comes_with_actprof(light, arguments, said):
    """Of the shapes that most robots have."""
    done = light(*arguments)
    assert (0, True) == (done.returncode, said in done.stdout + done.stderr), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure",),
        ("measure", "--lines"),
        ("loader", "--synthetic", "1x64x64"),
        ("sweep", "grid.yaml", "--mode", "measure"),
    ],
    ids=" ".join,
)
def test_a_command_that_runs_lerobot_says_so_in_one_line(light, arguments):
    """With what to install, and the exit code of a question that cannot be."""
    done = light(*arguments)
    assert (2, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
    assert "lerobot is not installed here (pip install 'actprof[lerobot]')" in done.stderr


def test_calibrating_says_that_it_runs_torch(light):
    """Neither a GPU nor lerobot is missed, only what can time an op."""
    done = light("calibrate")
    said = "calibrating runs torch, but it is not installed here (pip install 'actprof[lerobot]')"
    assert (2, f"actprof: {said}\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", ["predict", "explain", "suggest", "params"])
def test_what_has_no_trace_is_unknown_with_the_remedy(light, command):
    """A size that no shipped trace has."""
    done = light(command, "--resolution", "641x479")
    assert "pip install 'actprof[lerobot]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_answer_says_on_which_trace_it_stands_and_what_is_estimated(light):
    """The versions are those of the trace, and without cuDNN workspaces are no longer exact."""
    answer = json.loads(light("predict", "--json").stdout)
    assert ("0.6.1", True) == (answer["versions"]["lerobot"], answer["timing"]["trace_shipped"])
    assert any("no cuDNN here" in text for text in answer["assumptions"])
