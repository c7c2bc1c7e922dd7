"""Who is on a card."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fake_nvml import FakeGpu, FakeNvml

from actprof.measuring.card_use import relation
from actprof.measuring.nvml import CardProcess, listed_processes, processes_on

NOBODY = 2**31 - 1  # above the largest process id that Linux gives


def test_the_largest_process_comes_first():
    """Each with its name: without folder and options, from /proc where NVML has none, else empty."""
    gpu = FakeGpu(processes={NOBODY: 5, NOBODY - 1: 9, NOBODY - 2: None}, drawing={NOBODY - 3: 7})
    nvml = FakeNvml(
        gpu,
        programs={
            NOBODY: "/usr/bin/python3",
            NOBODY - 1: "/opt/browser --type=gpu-process",
            NOBODY - 2: "",
            NOBODY - 3: "/usr/lib/xorg/Xorg",
        },
    )

    assert (
        CardProcess(pid=NOBODY - 1, name="browser", used_bytes=9),
        CardProcess(pid=NOBODY - 3, name="Xorg", used_bytes=7),
        CardProcess(pid=NOBODY, name="python3", used_bytes=5),
        CardProcess(pid=NOBODY - 2, name="", used_bytes=0),
    ) == processes_on(0, nvml=nvml)
    assert 0 == nvml.open


def test_proc_names_what_nvml_does_not():
    """A process of ours has its own name even when NVML refuses to tell it."""
    gpu = FakeGpu(processes={os.getpid(): 5})
    nvml = FakeNvml(gpu, fails={"SystemGetProcessName": FakeNvml.NVML_ERROR_NOT_FOUND})

    (process,) = processes_on(gpu.uuid, nvml=nvml)

    assert process.name


def test_a_process_in_both_lists_counts_once():
    """One that computes and draws has the same bytes in both."""
    gpu = FakeGpu(processes={7: 5, 8: None}, drawing={7: 5, 8: 3})

    assert {7: 5, 8: 3} == listed_processes(FakeNvml(gpu), gpu)


@pytest.mark.parametrize("function", ["Init", "DeviceGetHandleByIndex", "DeviceGetComputeRunningProcesses"])
def test_without_an_answer_nobody_is_on_the_card(function):
    """It does not raise, and nothing is left open."""
    nvml = FakeNvml(fails={function: FakeNvml.NVML_ERROR_UNKNOWN})

    assert () == processes_on(0, nvml=nvml)
    assert 0 == nvml.open


def test_a_grandchild_belongs_to_the_run():
    """Descendants of any generation are the run's own, a parent is not, and an unknown id is unseen."""
    inner = "import os; print(os.getpid(), flush=True); input()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        grandchild = int(child.stdout.readline())

        assert "own" == relation(grandchild, os.getpid())
        assert "own" == relation(child.pid, child.pid)
        assert "other" == relation(os.getpid(), child.pid)
        assert "unseen" == relation(NOBODY, child.pid)
        child.communicate("\n")
