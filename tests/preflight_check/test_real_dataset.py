"""All four exit codes on a real LeRobotDataset, by the command as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

TINY = [
    "--policy.dim_model=64",
    "--policy.n_heads=4",
    "--policy.dim_feedforward=96",
    "--policy.chunk_size=10",
    "--policy.n_action_steps=10",
    "--policy.n_encoder_layers=1",
    "--policy.n_vae_encoder_layers=1",
]


def preflight(*words):
    command = [sys.executable, "-m", "actprof", "preflight", "--no-remedies", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_all_exit_codes_are_reached(train):
    """0 it fits, 1 it runs out, 2 lerobot refuses it, 3 it cannot be told; each says what to do."""
    gpu = ["--gpu", "RTX 3090", "--"]
    answers = [
        preflight(*gpu, *train(*TINY, "--batch_size=4")),
        preflight(*gpu, "PYTORCH_ALLOC_CONF=expandable_segments:True", *train(*TINY, "--batch_size=900")),
        preflight(*gpu, *train("--policy.chunk_size=50")),
        preflight(*gpu, *train(policy="gaussian_actor")),
    ]
    assert [0, 1, 2, 3] == [answer.returncode for answer in answers], [answer.stderr for answer in answers]
    texts = [answer.stdout + answer.stderr for answer in answers]
    for text, said in zip(
        texts,
        ["It fits. ACT with 2 cameras at 640x480, batch 4", "Tried to allocate",
         "set --policy.n_action_steps to at most the chunk size", "does not trace the policy gaussian_actor"],
        strict=True,
    ):  # fmt: skip
        assert said in text
