"""`actprof run` and `actprof compare` as a user calls them; the training only prints, but for one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TRAINING, group_of
from processes import is_alive, wait_until

from actprof.loading.synthetic import Synthetic, synthetic_dataset

ACTPROF = [sys.executable, "-m", "actprof"]
LITTLE = {"OMP_NUM_THREADS": "1"}  # of a machine that others use as well
FAKE = [*ACTPROF, "run", "--anyway", "--", sys.executable, str(TRAINING)]


def call(*words, **environment):
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_the_run_goes_through_and_its_exit_code_is_ours(tmp_path):
    """Even of a command that is not known: with --anyway, and without a prediction."""
    done = call(*FAKE, f"--output_dir={tmp_path}/run", CODE="7")
    assert 7 == done.returncode
    assert "it is run anyway, without a prediction" in done.stderr
    assert "step:20 smpl:160" in done.stderr
    assert "actprof: ended with exit code 7 (step 20 of 20); memory cannot be compared" in done.stderr
    assert 20 == json.loads((tmp_path / "run.actprof-run.json").read_text())["step"]


def test_a_refused_command_is_not_run(tmp_path):
    """Exit code 2, and not a line of it."""
    done = call(*ACTPROF, "run", "--", sys.executable, TRAINING)
    assert (2, False) == (done.returncode, "step:" in done.stderr)


def test_ctrl_c_reaches_the_training_and_nothing_is_left(start, tmp_path):
    """As a terminal sends it to the whole group; the summary is written all the same."""
    environment = {**os.environ, "SLEEP": "0.05"}
    words = [*FAKE, "--steps=2000", f"--output_dir={tmp_path}/run"]
    process = start(words, stderr=subprocess.PIPE, env=environment)
    while b"step:10" not in process.stderr.readline():
        pass
    below = group_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read().decode()
    assert (130, True) == (process.wait(20), "actprof: ended by SIGINT (step 1" in rest)
    assert wait_until(lambda: not any(map(is_alive, below)))
    assert 130 == json.loads((tmp_path / "run.actprof-run.json").read_text())["exit_code"]


def test_compare_fails_where_the_second_is_slower(tmp_path):
    """Exit code 1 for slower, 0 the other way round, 2 for no summary; JSON says the same."""
    for name, seconds in (("fast", "0.100"), ("slow", "0.150")):
        done = call(*FAKE, "--steps=100", f"--output_dir={tmp_path}/{name}", UPDATE=seconds)
        assert 0 == done.returncode
    fast, slow = (tmp_path / f"{name}.actprof-run.json" for name in ("fast", "slow"))
    found = [call(*ACTPROF, "compare", *pair) for pair in ((fast, slow), (slow, fast), (fast, TRAINING))]
    assert [1, 0, 2] == [done.returncode for done in found]
    assert found[0].stdout.startswith("Worse beyond noise and 5%: update seconds, step seconds.")
    assert found[1].stdout.startswith("No worse beyond noise and 5%.")
    assert "is neither a summary of `actprof run` nor what" in found[2].stderr
    shown = json.loads(call(*ACTPROF, "compare", fast, slow, "--json", "--tolerance", "60%").stdout)
    assert (False, 0.6) == (shown["worse"], shown["tolerance"])


@pytest.mark.slow
def test_a_real_training_on_the_cpu(tmp_path, start):
    """ACT on a real dataset: predicted stands beside measured; another, interrupted, leaves no process."""
    root = synthetic_dataset(
        Synthetic(cameras=1, width=64, height=64, storage="images", episodes=2, frames=12)
    )
    program = Path(sys.executable).with_name("lerobot-train")
    words = [
        program, "--policy.type=act", "--policy.push_to_hub=false", "--policy.device=cpu",
        "--policy.pretrained_backbone_weights=null", "--dataset.repo_id=actprof/synthetic",
        f"--dataset.root={root}", "--policy.dim_model=64", "--policy.n_heads=4",
        "--policy.dim_feedforward=96", "--policy.chunk_size=10", "--policy.n_action_steps=10",
        "--policy.n_encoder_layers=1", "--policy.n_vae_encoder_layers=1", "--batch_size=2", "--num_workers=1",
        "--log_freq=2", "--save_checkpoint=false", "--seed=1",
    ]  # fmt: skip
    done = call(*ACTPROF, "run", "--fit", "--", *words, "--steps=6", f"--output_dir={tmp_path}/run", **LITTLE)
    assert 0 == done.returncode, done.stderr
    assert "the batch size stays 2: this run is on the CPU" in done.stderr
    last = next(line for line in done.stderr.splitlines() if line.startswith("actprof: step 6 of 6"))
    assert "memory cannot be compared: this run is on the CPU (" in last
    assert "allocated is predicted for CUDA, " in last
    assert "resident here)" in last
    assert "s measured (" in last
    kept = json.loads((tmp_path / "run.actprof-run.json").read_text())
    assert ([2, 4, 6], 2) == (
        [line["step"] for line in kept["lines"]],
        kept["measured"]["cell"]["batch_size"],
    )
    assert kept["predicted"]["peak_allocated_bytes"] > 0

    process = start(
        list(
            map(
                str,
                (*ACTPROF, "run", "--anyway", "--", *words, "--steps=5000", f"--output_dir={tmp_path}/two"),
            )
        ),
        stderr=subprocess.PIPE,
        env={**os.environ, **LITTLE},
    )
    while b"step:2 " not in process.stderr.readline():
        pass
    below = group_of(process.pid)
    assert len(below) > 1  # its data loader's workers as well
    os.kill(process.pid, signal.SIGINT)
    process.stderr.read()
    assert 130 == process.wait(60)
    assert wait_until(lambda: not any(map(is_alive, below)))
