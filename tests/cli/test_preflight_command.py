"""`actprof preflight` on hand-made traces: order of the answer, exit codes, JSON, and what it imports."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
from handmade import build_trace

from actprof.hardware import LocalGpu
from actprof.prediction.predict import NCCL_BYTES
from actprof.preflight_check.flag_table import flag_table

CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
JOINTS = {"dtype": "float32", "shape": [6], "names": None}
GIB = 1024**3
ALMOST_FULL = ("--gpu", "RTX 3090", "--used-by-others", "23GiB")


@pytest.fixture
def words(tmp_path, seed, _own_cache):
    """Return a function that gives the words of a command whose trace, and lerobot's flags, are cached."""
    flag_table("act")
    for world_size, batch_size in product((1, 2), (1, 2)):
        kept = {"chunk_size": 7, "n_action_steps": 7}
        seed(overrides=kept, batch_size=batch_size, world_size=world_size)

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
        (["--gpu", "RTX 3090"], [], (0, "It fits. ACT with 2 cameras at 640x480, batch 8")),
        ([*ALMOST_FULL], [], (0, "It runs, but tightly.")),
        ([*ALMOST_FULL, "--require", "fits"], [], (1, "It runs, but tightly.")),
        (["--capacity", "2GiB"], ["--batch_size=4000"], (1, "It runs out of memory.")),
        (
            ["--gpu", "3090"],
            ["--policy.device=cpu"],
            (3, "It cannot be told: this command trains on the CPU"),
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


def test_what_lerobot_stops_with_is_said_beside_the_memory(run, words, tmp_path):
    """The dataset's format is an old one: the answer stands, and so does the exit code of a refusal."""
    command = words()
    info = tmp_path / "meta" / "info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "codebase_version": "v2.1"}))
    shown = run("preflight", "--gpu", "3090", "--no-remedies", "--", *command)
    data = json.loads(run("preflight", "--gpu", "3090", "--no-remedies", "--json", "--", *command).out)

    assert (2, True) == (shown.code, shown.out.startswith("It fits."))
    assert "But it does not start: the dataset has format v2.1" in shown.out
    assert [("dataset_version", True)] == [(trap["name"], trap["stops"]) for trap in data["traps"]]


def test_the_machine_of_a_job_that_runs_the_command_is_its_gpu(run, words):
    """`hf jobs run --flavor`; ssh names no card, so that one must be given."""
    job = run(
        "preflight", "--no-remedies", "--", "hf", "jobs", "run", "--flavor=a10g-large", "image", *words()
    )
    small = run("preflight", "--", "hf", "jobs", "run", "image", *words())
    elsewhere = run("preflight", "--", "ssh", "gpu01", *words())
    assert (0, True) == (job.code, "on the A10G of Hugging Face's a10g-large" in job.out)
    assert (2, True) == (small.code, "--flavor cpu-basic has no GPU" in small.err)
    assert (2, True) == (elsewhere.code, "runs on another machine (ssh)" in elsewhere.err)


def test_an_error_is_explained_by_the_words_that_led_to_it(run):
    """An empty variable, before the dataset that is therefore not found."""
    words = ("lerobot-train", "--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=/pick")
    shown = run("preflight", "--gpu", "3090", "--", *words)
    assert 2 == shown.code
    assert shown.err.index("was empty") < shown.err.index("is not to be found")


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

    assert "limited by data loading 100%" in shown
    assert "faster with more workers (--num_workers)" in shown
    assert "data" == answer["duration"]["limited_by"]
    assert 0.99 < answer["duration"]["data_share"] < 1


def test_the_answer_comes_before_its_numbers(run, words):
    """Verdict, remedy, time, where, bars, largest batch size, PyTorch's words: in this order."""
    out = run("preflight", "--no-remedies", "--capacity", "2GiB", "--", *words("--batch_size=4000")).out
    marks = [
        "It runs out of memory.", "What helps: ", "How long it takes is not known", "it runs out in",
        "allocated", "largest batch size", "PyTorch will say",
    ]  # fmt: skip
    places = [out.index(mark) for mark in marks]
    assert sorted(places) == places


def test_cameras_that_differ_are_traced_as_they_are(run, words, seed):
    """Each has its own size, and the verdict is as sure as any."""
    wrist = {**CAMERA, "shape": [240, 320, 3]}
    seed(overrides={"chunk_size": 7, "n_action_steps": 7}, batch_size=2, resolution="640x480,320x240")
    flag_table("act")
    shown = run("preflight", "--gpu", "3090", "--no-remedies", "--", *words(wrist=wrist))
    assert shown.out.startswith("It fits. ACT with 1 camera at 640x480 and 1 at 320x240, batch 8")


def test_several_processes_are_told_together_and_count_nccl(run, words):
    """The batch of all of them; with room for NCCL each fits, and without it is tight."""
    launched = ["accelerate", "launch", "--num_processes=2", *words()]
    asked = ("preflight", "--gpu", "3090", "--no-remedies", "--require", "fits")
    roomy = run(*asked, "--", *launched)
    crowded = run(*asked, "--used-by-others", "22.3GiB", "--", *launched)
    said = " ".join(roomy.out.split())
    assert "batch 8 per GPU (16 on all), on 2 \u00d7 RTX 3090 (DDP)" in said
    assert "reserved + context and NCCL" in said
    assert [(0, True), (1, False)] == [
        (shown.code, shown.out.startswith("It fits.")) for shown in (roomy, crowded)
    ]


FULL_GPU = LocalGpu(
    index=0, name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, used_bytes=23 * GIB,
    free_bytes=GIB, driver="1", uuid="GPU-1", compute_capability=(8, 6),
)  # fmt: skip


def test_the_gpu_here_is_taken_as_it_is_now(run, words, monkeypatch):
    """Its free memory counts, and who holds the rest is named."""
    from actprof.measuring.nvml import CardProcess

    gpu = FULL_GPU
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", lambda: (gpu,))
    monkeypatch.setattr(
        "actprof.measuring.nvml.processes_on",
        lambda _which: (CardProcess(pid=7, name="python", used_bytes=22 * GIB),),
    )
    shown = run("preflight", "--no-remedies", "--", *words("--batch_size=4000"))
    assert 1 == shown.code
    assert "on the RTX 3090 here (GPU 0, 1.00 GiB free)" in shown.out
    assert "held by python (7) 22.00 GiB" in shown.out


def test_without_a_gpu_the_message_says_what_to_give(run, words, monkeypatch):
    """Nothing is assumed."""
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", tuple)
    shown = run("preflight", "--", *words())
    assert 2 == shown.code
    assert "--gpu 'RTX 3090'" in shown.err


@pytest.mark.parametrize(("shown_gpu", "place"), [("1", "GPU 1, 23.00 GiB free"), ("0", "GPU 0, 1.00 GiB")])
def test_the_gpu_is_the_one_that_the_command_shows_to_cuda(run, words, monkeypatch, shown_gpu, place):
    """`CUDA_VISIBLE_DEVICES` before the command takes the place of this process's own."""
    empty = replace(FULL_GPU, index=1, uuid="GPU-2", used_bytes=GIB, free_bytes=23 * GIB)
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", lambda: (FULL_GPU, empty))
    monkeypatch.setattr("actprof.measuring.nvml.processes_on", lambda _which: ())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    shown = run("preflight", "--no-remedies", "--", f"CUDA_VISIBLE_DEVICES={shown_gpu}", *words())
    assert f"on the RTX 3090 here ({place}" in shown.out


def test_a_command_that_hides_every_gpu_says_so(run, words, monkeypatch):
    """The variable and its value are named."""
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", lambda: (FULL_GPU,))
    shown = run("preflight", "--", "CUDA_VISIBLE_DEVICES=7", *words())
    assert 2 == shown.code
    assert "CUDA_VISIBLE_DEVICES=7 hides every GPU of this machine" in shown.err


def test_what_is_taken_for_granted_is_said(run, words):
    """A resolution that is not the dataset's does not pass unseen."""
    shown = run("preflight", "--gpu", "3090", "--resolution", "640x480", "--", *words())
    said = shown.out.partition("Taken for granted")[2]
    assert "--resolution 640x480 instead of what" in said


def test_given_shapes_do_without_a_broken_description(run, words, tmp_path):
    """The message about the broken file says so, and it is true."""
    command = words()
    (tmp_path / "meta" / "info.json").write_text("{", encoding="utf-8")
    given = ("--cameras", 2, "--resolution", "640x480", "--state-dim", 6, "--action-dim", 6)
    assert [2, 0] == [run("preflight", "--gpu", "3090", *some, "--", *command).code for some in ((), given)]


def test_a_need_beyond_the_card_is_said_to_be_without_limit(run, words):
    """The three figures are then not what a process on this card comes to hold."""
    crowded = run("preflight", "--no-remedies", "--capacity", "2GiB", "--", *words("--batch_size=4000")).out
    roomy = run("preflight", "--no-remedies", "--gpu", "3090", "--", *words()).out
    assert [True, False] == ["on a device without limit" in out for out in (crowded, roomy)]


def remedies_of(run, *arguments):
    """Return names of the remedies with their objects."""
    data = json.loads(run("preflight", "--json", *arguments).out)
    return {remedy["name"]: remedy for remedy in data["remedies"]}


@pytest.fixture
def crowded(words, seed):
    """Return the words of a command that does not fit into 2 GiB, the traces of its remedies cached."""
    kept = {"chunk_size": 7, "n_action_steps": 7}
    for world_size in (1, 2):
        several = {"overrides": kept, "batch_size": 64, "world_size": world_size}
        seed(**several, resolution="224x224", trace=build_trace(activation=1 << 19))
        seed(**several, changes=("fused_attention",))
    return lambda *more: words("--batch_size=4000", *more)


def test_a_job_is_offered_only_what_goes_with_its_command(run, crowded):
    """Hugging Face Jobs get the bare command: no variable, no script."""
    here = remedies_of(run, "--capacity", "2GiB", "--", *crowded())
    job = remedies_of(run, "--capacity", "2GiB", "--", *crowded("--job.target=t4-small"))
    assert {"resize_224x224", "smaller_batch"} == set(job) < set(here)


def test_remedies_of_several_processes_count_all_of_them(run, crowded):
    """Each is a run of as many processes, NCCL beside them."""
    launched = ["accelerate", "launch", "--num_processes=2", *crowded()]
    found = remedies_of(run, "--capacity", "2GiB", "--", *launched)
    alone = remedies_of(run, "--capacity", "2GiB", "--", *crowded())
    assert "fits" in {remedy["after"]["verdict"] for remedy in alone.values()}
    assert set(found) <= set(alone)
    held = [remedies["smaller_batch"]["before"]["headroom_bytes"] for remedies in (alone, found)]
    assert held[0] - held[1] >= NCCL_BYTES


def test_several_processes_that_fit_need_no_remedy(run, words):
    """Memory is not what the run lacks."""
    launched = ["accelerate", "launch", "--num_processes=2", *words()]
    assert {} == remedies_of(run, "--gpu", "3090", "--", *launched)


def test_a_resize_that_replaces_the_commands_transforms_says_so(run, crowded):
    """There is one table of transforms, and the last flag wins."""
    plain = remedies_of(run, "--capacity", "2GiB", "--", *crowded())
    changed = remedies_of(run, "--capacity", "2GiB", "--", *crowded("--dataset.image_transforms.enable=true"))
    said = [
        "the command's own image transforms" in found["resize_224x224"]["note"] for found in (plain, changed)
    ]
    assert [False, True] == said


def test_the_words_for_more_remedies_ask_about_the_same_cell(run, crowded):
    """They can be pasted."""
    out = run("preflight", "--capacity", "2GiB", "--", *crowded()).out
    line = next(line for line in out.splitlines() if "more: actprof suggest" in line)
    name, command, *given = shlex.split(line.partition("more: ")[2])
    data = json.loads(run(command, *given, "--fast", "--json").out)
    assert ("actprof", 4000, 2 * GIB, {"chunk_size": 7, "n_action_steps": 7}) == (
        name, *(data["before"]["cell"][field] for field in ("batch_size", "capacity_bytes", "overrides")),
    )  # fmt: skip


@pytest.mark.parametrize(("steps", "unit"), [(1, "m?s"), (900_000_000, "h")])
def test_long_and_short_runs_have_figures_to_read(run, words, steps, unit):
    """Nobody reads 1.07e+05 epochs, or 0.0457 hours."""
    out = run("preflight", "--gpu", "3090", "--no-remedies", "--", *words(f"--steps={steps}")).out
    line = next(line for line in out.splitlines() if line.startswith(f"{steps:,} step"))
    assert re.search(rf"steps? takes? [\d.,]+ {unit} \([\d.,]+ to [\d.,]+ {unit}\)", line)


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
