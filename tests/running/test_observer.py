"""What is said and kept of a run, from the text that it prints: no process, no GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from actprof.api.ledger import read_results
from actprof.cell import Cell
from actprof.hardware import LocalGpu
from actprof.ledger.keep import add_results
from actprof.measurement import CardUse, Spread
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.training_run import TrainingRun
from actprof.results import PREDICTED, GpuUse, Result, Verdict
from actprof.running.edit_command import Words
from actprof.running.observer import Observer
from actprof.running.passthrough import Ended
from actprof.running.plan import Plan
from actprof.running.summary import read_file
from actprof.training_command.command_line import CommandLine
from actprof.training_command.launcher import Launch
from actprof.units import GIB

CARD = LocalGpu(
    index=0, name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, used_bytes=0, free_bytes=24 * GIB,
    driver="595", uuid="GPU-1", compute_capability=(8, 6),
)  # fmt: skip
PREDICTION = Result(
    source=PREDICTED,
    cell=Cell(batch_size=8, gpu="RTX 3090"),
    gpu=GpuUse(name="RTX 3090", capacity_bytes=25_438_126_080, context_bytes=400 << 20),
    peak_allocated_bytes=round(3.732 * GIB),
    peak_reserved_bytes=4 * GIB,
    peak_process_bytes=round(4.4 * GIB),
    verdict=Verdict.FITS,
    step_seconds=Spread(low=0.1, median=0.17, high=0.3),
    flops_per_sample=10**11,
    limited_by="arithmetic",
)
CONFIG = "INFO {{'batch_size': 8,\n 'log_freq': 200,\n 'policy': {{'device': '{}'}},\n 'steps': 1000}}\n"
LINE = (
    "INFO a.py:1 step:{} smpl:2K ep:3 epch:0.10 loss:6.7 grdn:1.2 lr:1.0e-05 updt_s:{} data_s:{} smp/s:43{}\n"
)


@pytest.fixture
def observe(tmp_path):
    """Return a function that lets an observer hear lines, and returns what it said and kept."""

    def hear(*lines, device="cuda", memory=" mem_gb:3.73", code=0, card=None, gpu=CARD, end="", **fields):
        said, now = [], iter(range(10_000))
        answer = Preflight(
            reason="", verdict=Verdict.FITS, command=CommandLine(text="", arguments=()), launch=Launch(),
            run=TrainingRun(policy_type="act", repo_id="a/b", batch_size=8, steps=1000, save_freq=1000),
            result=PREDICTION,
        )  # fmt: skip
        plan = Plan(words=Words(("lerobot-train", "--batch_size=8")), answer=answer, **fields)
        path = tmp_path / "summary.json"
        observer = Observer(
            plan=plan, gpu=gpu, look=lambda: card, say=said.append, summary=path,
            clock=lambda: next(now) / 10, versions={"lerobot": "0.6.1"},
        )  # fmt: skip
        observer.hear(2, CONFIG.format(device).encode())
        for step, update, data in lines:
            observer.hear(2, LINE.format(step, update, data, memory).encode())
        observer.hear(2, end.encode())
        found = observer.end(Ended(code, GIB))
        assert found == read_file(path)
        return found, said, path

    return hear


STEADY = [(200, 0.9, 0.5), (400, 0.18, 0.002), (600, 0.2, 0.004)]


def test_one_line_after_the_first_lines_and_one_at_the_end(observe):
    """Predicted against measured memory and seconds, what limits, what is left."""
    card = CardUse(samples=9, process_bytes=5 * GIB, last_bytes=round(4.41 * GIB), busy_share=0.97)
    _, said, path = observe(*STEADY, card=card)
    first, last, wrote = said
    assert first.startswith(
        "actprof: step 400 of 1,000; allocated 3.73 GiB predicted, 3.73 GiB measured; process 4.40 GiB "
        "predicted, 4.41 GiB measured; update 170 ms (100 ms to 300 ms) predicted, 180 ms measured; "
        "limited by the GPU (GPU busy 97%); "
    )
    assert first.endswith(" left")
    assert last.startswith("actprof: step 600 of 1,000; allocated 3.73 GiB predicted, 3.73 GiB measured")
    assert "190 ms measured" in last
    assert " left" not in last
    assert f"actprof: wrote {path}" == wrote


@pytest.mark.parametrize(
    ("line", "busy", "expected"),
    [
        ((0.18, 0.002), 0.95, "device"),
        ((0.18, 0.002), 0.6, "host"),
        ((0.18, 0.05), 0.95, "data"),
        ((0.18, 0.002), None, "device"),
    ],
)
def test_what_limits_the_run_now(observe, line, busy, expected):
    """A tenth of waiting is data, nine tenths of kernels the device; without NVML the prediction says."""
    card = CardUse(samples=9, busy_share=busy)
    found, *_ = observe((200, 9.0, 9.0), (400, *line), (600, *line), card=card)
    assert expected == found.limited_by


def test_on_the_cpu_memory_is_not_compared(observe):
    """It says why, what would be, what is; seconds stand side by side, and the rate."""
    found, said, _ = observe(*STEADY, device="cpu", memory="", without_cuda="this run is on the CPU")
    assert (
        "actprof: step 600 of 1,000; memory cannot be compared: this run is on the CPU (3.73 GiB allocated "
        "is predicted for CUDA, 1.00 GiB resident here); update 170 ms (100 ms to 300 ms) predicted for RTX "
        "3090, 190 ms measured (4,211 GFLOP/s here); limited by the processor, which computes"
    ) == said[-2]
    assert found.measured.on_cpu


def test_a_run_that_ran_out_of_memory_says_what_was_asked_for(observe):
    """Its message is kept as a result has it."""
    message = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 472.00 MiB. GPU 0 has a total "
        "capacity of 23.69 GiB of which 446.56 MiB is free. Including non-PyTorch memory, this process has "
        "23.25 GiB memory in use. Of the allocated memory 22.33 GiB is allocated by PyTorch, and 486.21 MiB "
        "is reserved by PyTorch but unallocated.\n"
    )
    found, said, _ = observe(code=1, end=message)
    assert said[0].startswith(
        "actprof: ended with exit code 1 (no step was seen); it ran out of memory, asking for 472.00 MiB; "
        "predicted: fits"
    )
    assert (Verdict.OOM, 472 << 20) == (found.measured.verdict, found.measured.oom.segment_bytes)


def test_a_signal_is_named(observe):
    """Not as a number."""
    assert observe(*STEADY, code=130)[1][-2].startswith("actprof: ended by SIGINT (step 600 of 1,000); ")


def test_the_ledger_takes_the_summary(observe):
    """As a measured row beside the prediction, exact to the digits that lerobot prints."""
    _, _, path = observe(*STEADY)
    (row,) = add_results((), read_results(path))
    assert ("GeForce RTX 3090", 3.73, 0.19) == (
        row.gpu, round(row.measured.allocated_bytes / GIB, 2), row.measured.step_seconds
    )  # fmt: skip
    assert (PREDICTION.peak_allocated_bytes, True) == (
        row.predicted.allocated_bytes,
        row.is_exact("allocated"),
    )
    assert (True, "lerobot-train --batch_size=8") == (row.verdict_agrees, row.command)


def test_a_card_that_was_not_asked_about_is_the_measured_one(observe):
    """The question named a 3090, and the run was on another: the ledger is about that one."""
    other = replace(CARD, name="NVIDIA GeForce RTX 3060", total_bytes=12 * GIB)
    found, *_ = observe(*STEADY, gpu=other)
    assert ("RTX 3060 12 GB", "GeForce RTX 3060") == (found.measured.cell.gpu, found.measured.device.name)


def test_another_batch_size_than_predicted_is_not_compared(observe, monkeypatch):
    """What lerobot prints decides."""
    monkeypatch.setattr("test_observer.CONFIG", CONFIG.replace("8", "16", 1))
    found, said, _ = observe(*STEADY)
    assert (None, None) == (found.predicted, found.measured)
    assert "predicted" not in said[-2]


def test_an_error_of_ours_does_not_reach_the_run(observe, monkeypatch):
    """It is told once."""
    monkeypatch.setattr("actprof.running.training_log.TrainingLog.take", lambda *_: 1 / 0)
    said = observe(*STEADY)[1]
    assert 1 == sum("cannot read this run's log any more" in text for text in said)


def test_the_summary_never_makes_the_output_folder(tmp_path, monkeypatch):
    """Lerobot refuses a run whose folder is there: while it is not, the file stands beside it."""
    monkeypatch.chdir(tmp_path)
    folder = Path("outputs/run")
    for expected in (folder.with_name("run.actprof-run.json"), folder / "actprof-run.json"):
        observer = Observer(plan=Plan(words=Words(("x",))), say=lambda _: None)
        observer.hear(2, f"INFO Output dir: {folder}\n".encode())
        observer.end(Ended(0))
        assert 0 == json.loads(expected.read_text())["exit_code"]
        folder.mkdir(parents=True, exist_ok=True)
