"""`actprof preflight` on hand-made traces: order of the answer, exit codes, JSON, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from actprof.launch.field_table import field_table
from actprof.measure.nvml import LocalGpu

CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
JOINTS = {"dtype": "float32", "shape": [6], "names": None}
GIB = 1024**3
ALMOST_FULL = ("--gpu", "RTX 3090", "--used-by-others", "23GiB")


@pytest.fixture
def words(tmp_path, seed, _own_cache):
    """Return a function that gives the words of a command whose trace, and lerobot's flags, are cached."""
    field_table()
    for batch_size in (1, 2):
        seed(overrides={"chunk_size": 7, "n_action_steps": 7}, batch_size=batch_size)

    def command(*more, wrist=CAMERA):
        info = tmp_path / "meta" / "info.json"
        info.parent.mkdir(exist_ok=True)
        cameras = {"observation.images.front": CAMERA, "observation.images.wrist": wrist}
        info.write_text(json.dumps({"features": {**cameras, "observation.state": JOINTS, "action": JOINTS}}))
        return [
            "lerobot-train", "--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=me/x",
            f"--dataset.root={tmp_path}", "--policy.chunk_size=7", "--policy.n_action_steps=7", *more,
        ]  # fmt: skip

    return command


@pytest.mark.parametrize(
    ("options", "flags", "expected"),
    [
        (["--gpu", "RTX 3090"], [], (0, "It fits. ACT with 2 cameras at 640x480, batch size 8")),
        ([*ALMOST_FULL], [], (0, "It runs, but tightly.")),
        ([*ALMOST_FULL, "--require", "fits"], [], (1, "It runs, but tightly.")),
        (["--capacity", "2GiB"], ["--batch_size=4000"], (1, "It runs out of memory.")),
        (
            ["--gpu", "3090"],
            ["--policy.device=cpu"],
            (3, "It cannot be told. this command trains on the CPU"),
        ),
        ([], ["--job.target=a10g-large"], (0, "It fits.")),
    ],
)
def test_each_verdict_has_its_exit_code(run, words, options, flags, expected):
    """0 fits or tight, 1 runs out, 3 not known; `--require fits` makes tight a failure."""
    code, begins = expected
    shown = run("preflight", "--no-remedies", *options, "--", *words(*flags))
    assert (code, True) == (shown.code, shown.out.startswith(begins)), shown.out
    assert ("warning: tight" in shown.err) == begins.startswith("It runs, but")


def test_a_refused_command_ends_with_2(run, words):
    """Lerobot's words, on stderr."""
    shown = run("preflight", "--gpu", "3090", "--", *words("--batchsize=4"))
    assert (2, "") == (shown.code, shown.out)
    assert "unrecognized arguments: --batchsize=4\ndid you mean --batch_size" in shown.err


def test_json_is_one_object(run, words):
    """The result's fields, and what the command, its dataset and its GPU are."""
    shown = run("preflight", "--gpu", "3090", "--json", "--", "A=1", *words("--policy.use_amp=false"))
    data = json.loads(shown.out)
    assert (0, "fits", "640x480", "RTX 3090") == (
        shown.code, data["verdict"], data["cell"]["resolution"], data["gpu"]["name"],
    )  # fmt: skip
    assert {"A": "1"} == data["command"]["environment"]
    assert {"traps", "remedies", "dataset", "peak_process_bytes", "max_batch_size"} <= set(data)


def test_loading_that_is_given_may_be_the_limit(run, words):
    """Its share, what helps against it, and in JSON the same."""
    asked = ("preflight", "--no-remedies", "--gpu", "RTX 3090", "--load-seconds", 900)
    shown = " ".join(run(*asked, "--", *words()).out.split())
    answer = json.loads(run(*asked, "--json", "--", *words()).out)

    assert "limited by data 100%" in shown
    assert "faster with more workers (--num_workers)" in shown
    assert "data" == answer["duration"]["limited_by"]
    assert 0.99 < answer["duration"]["data_share"] < 1


def test_where_it_runs_out_stands_after_the_memory(run, words):
    """Verdict, bars, where and PyTorch's words, largest batch size: in this order."""
    out = run("preflight", "--no-remedies", "--capacity", "2GiB", "--", *words("--batch_size=4000")).out
    marks = ["It runs out of memory.", "tensors", "It runs out in", "PyTorch will say", "largest batch size"]
    places = [out.index(mark) for mark in marks]
    assert sorted(places) == places


def test_cameras_that_differ_are_tight_at_best(run, words):
    """All are counted as the largest, and that is said."""
    wrist = {**CAMERA, "shape": [240, 320, 3]}
    shown = run("preflight", "--gpu", "3090", "--no-remedies", "--", *words(wrist=wrist))
    assert "the cameras differ (640x480, 320x240)" in shown.out
    assert shown.out.startswith("It runs, but tightly.")


def test_several_processes_are_tight_at_best(run, words):
    """Gradient buckets and NCCL stand beside the trace."""
    launched = ["accelerate", "launch", "--num_processes=2", *words()]
    shown = run("preflight", "--gpu", "3090", "--no-remedies", "--", *launched)
    assert "gradient buckets and NCCL of 2 processes" in shown.out
    assert shown.out.startswith("It runs, but tightly.")


def test_the_gpu_here_is_taken_as_it_is_now(run, words, monkeypatch):
    """Its free memory counts, and who holds the rest is named."""
    from actprof.measure.processes import CardProcess

    gpu = LocalGpu(
        index=0, name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, used_bytes=23 * GIB,
        free_bytes=GIB, driver="1", uuid="GPU-1", compute_capability=(8, 6),
    )  # fmt: skip
    monkeypatch.setattr("actprof.measure.choose.usable_gpus", lambda: (gpu,))
    monkeypatch.setattr(
        "actprof.measure.processes.processes_on",
        lambda _which: (CardProcess(pid=7, name="python", used_bytes=22 * GIB),),
    )
    shown = run("preflight", "--no-remedies", "--", *words("--batch_size=4000"))
    assert 1 == shown.code
    assert "on the RTX 3090 here (GPU 0, 1.00 GiB free)" in shown.out
    assert "held by python (7) 22.00 GiB" in shown.out


def test_without_a_gpu_the_message_says_what_to_give(run, words, monkeypatch):
    """Nothing is assumed."""
    monkeypatch.setattr("actprof.measure.choose.usable_gpus", tuple)
    shown = run("preflight", "--", *words())
    assert 2 == shown.code
    assert "--gpu 'RTX 3090'" in shown.err


ASK = """
import sys
from actprof.cli import main
try:
    main()
finally:
    loaded = {"torch", "lerobot", "pandas", "huggingface_hub"} & set(sys.modules)
    print("loaded", sorted(loaded), file=sys.stderr)
"""


def test_with_a_cached_trace_neither_torch_nor_lerobot_is_imported(words):
    """A plain ACT command is read by hand, and answered from the cache."""
    command = [sys.executable, "-c", ASK, "preflight", "--gpu", "RTX 3090", "--", *words("--steps=9")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "loaded []\n") == (done.returncode, done.stderr)
