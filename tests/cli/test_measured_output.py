"""What `actprof measure` prints."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from actprof.cell import Cell
from actprof.cli.commands.measure import print_measured
from actprof.cli.show_result import print_result
from actprof.measurement import CardUse, DeviceFacts, Measurement, Spread
from actprof.out_of_memory import OutOfMemory
from actprof.results import GpuUse, Result
from actprof.units import GIB, MIB

H100 = DeviceFacts(
    type="cuda", name="NVIDIA H100 80GB HBM3", total_bytes=79 * GIB, compute_capability=(9, 0),
    driver="570.86", cuda="12.8", cudnn="91002",
)  # fmt: skip
CPU = DeviceFacts(type="cpu", name="A processor with a long name, 2.70 GHz", total_bytes=16 * GIB, threads=2)
CARD = CardUse(
    samples=9, process_bytes=11 * GIB, card_bytes=13 * GIB, others_bytes=2 * GIB, sm_clock_mhz=(1410, 1980),
    temperature_c=61,
)  # fmt: skip
OOM = OutOfMemory(
    step=1, phase="forward", module="", op="", requested_bytes=0, segment_bytes=76 * MIB,
    allocated_bytes=22 * GIB, reserved_bytes=23 * GIB,
    message="CUDA out of memory. Tried to allocate 76.00 MiB. If reserved but unallocated memory is large",
)  # fmt: skip
NO_SECONDS = dict.fromkeys(("forward_seconds", "backward_seconds", "optimizer_seconds", "data_seconds"))
NO_GPU = "it ran on the CPU, which says nothing about a GPU's memory"


def spread(median):
    return Spread(low=median / 2, median=median, high=median * 2)


@pytest.fixture
def predicted():
    """A run that fits."""
    return Result(
        source="predicted", cell=Cell(), verdict="fits", reason="it runs with 13.00 GiB to spare",
        gpu=GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=GIB),
        encoder_tokens=602, parameters=51_000_000, max_batch_size=57, headroom_bytes=13 * GIB,
        peak_allocated_bytes=9 * GIB, peak_reserved_bytes=10 * GIB, peak_process_bytes=11 * GIB,
    )  # fmt: skip


@pytest.fixture
def measured(predicted):
    """The same run for real, with 0.5 GiB less allocated."""
    run = Measurement(
        steps=20, warmup_steps=2, forward_seconds=spread(0.1), backward_seconds=spread(0.3),
        optimizer_seconds=spread(0.02), data_seconds=spread(0.01), spike_reserved_bytes=224 * MIB,
        allocator_retries=3, card=CARD,
    )  # fmt: skip
    return replace(
        predicted, source="measured", peak_allocated_bytes=int(8.5 * GIB), device=H100, measurement=run,
        step_seconds=spread(0.4), samples_per_second=20.0, max_batch_size=None,
    )  # fmt: skip


def failed(result, *, stderr=(), **fields):
    """Return the result of a run that did not get through; its process is the CUDA context alone."""
    return replace(
        result, peak_allocated_bytes=0, peak_reserved_bytes=0, peak_process_bytes=GIB, step_seconds=None,
        samples_per_second=None, measurement=replace(result.measurement, **NO_SECONDS, stderr=stderr),
        **fields,
    )  # fmt: skip


def shown(result, *, width=80, **options):
    """Return what is printed, and check that no line is wider than the terminal."""
    stream = io.StringIO()
    print_measured(result, Console(file=stream, width=width, highlight=False), **options)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return "\n".join(lines)


def flat(text):
    """Return the text without its line breaks."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_on_a_gpu_shows_memory_seconds_and_the_card(measured, width):
    """Verdict first, three bars, then what each step took, and the device."""
    text = shown(measured, width=width)
    assert text.startswith("It fits. ACT with 2 cameras at 640x480, batch 8, on RTX 3090: it runs with")
    assert ["allocated", "reserved", "process"] == [
        line.split()[0] for line in text.splitlines() if "\u2588" in line
    ]
    for words in (
        "update_policy 200 ms 400 ms 800 ms", "backward 150 ms 300 ms 600 ms", "samples per second 20.0",
        "steps timed 20, after 2 to warm up", "cache flushes 3 in the whole run", "spike 224.00 MiB",
        "encoder tokens 602", "NVIDIA H100 80GB HBM3, 79.00 GiB, sm_90", "driver 570.86, CUDA 12.8",
        "1,410 to 1,980 MHz, 61 \u00b0C", "throttled no", "others 2.00 GiB",
    ):  # fmt: skip
        assert words in flat(text)


def test_a_prediction_of_the_same_cell_stands_beside_it(measured, predicted):
    """With the difference, predicted minus measured."""
    text = flat(shown(measured, predicted=predicted))
    assert "verdict fits fits none" in text
    assert "allocated 8.50 GiB 9.00 GiB +512.00 MiB, +5.9%" in text
    assert "reserved 10.00 GiB 10.00 GiB 0 bytes, +0.0%" in text
    assert "difference" not in shown(measured)


def test_a_predicted_step_stands_beside_the_measured_one(measured, predicted):
    """With the difference in percent of what was measured."""
    known = replace(predicted, step_seconds=spread(0.3))
    assert "median step 400 ms 300 ms -25.0%" in flat(shown(measured, predicted=known))
    assert "median step" not in flat(shown(measured, predicted=predicted))


def test_a_device_that_played_another_is_named(measured):
    """With what it was held to."""
    capped = replace(measured, measurement=replace(measured.measurement, cap_bytes=23 * GIB))
    assert "on RTX 3090 (played by NVIDIA H100 80GB HBM3, limited to 23.00 GiB): it" in flat(shown(capped))


def test_a_run_that_ran_out_quotes_pytorch_in_the_past_and_has_no_bars(measured, predicted):
    """And says that the prediction was wrong, where it was."""
    run = failed(measured, verdict="oom", reason="it runs out in step 1", oom=OOM)
    text = shown(run, predicted=predicted)
    assert text.startswith("It runs out of memory.")
    assert "PyTorch said: CUDA out of memory. Tried to allocate 76.00 MiB." in text
    assert "If reserved" not in text
    assert "\u2588" not in text
    assert "The prediction was fits: it is wrong." in text
    assert "wrong" not in shown(run, predicted=replace(predicted, verdict="oom"))


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_that_failed_shows_the_last_lines_of_its_worker(measured, predicted, width):
    """As they are, brackets included; there is no verdict to compare."""
    run = failed(measured, verdict="error", reason="the worker was killed", stderr=("Trace:", "[bold]x"))
    text = shown(run, width=width, predicted=predicted)
    assert text.startswith("It failed.")
    assert "on RTX 3090: the worker was killed." in flat(text)
    assert "The worker's last lines:\n  Trace:\n  [bold]x\n" in text
    assert "they differ" not in text
    assert "cache flushes" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_on_the_cpu_says_so(measured, predicted, width):
    """Live tensors, resident memory and seconds; no bar and no difference."""
    host = replace(measured.measurement, card=None, live_tensor_bytes=2 * GIB, resident_bytes=3 * GIB)
    run = failed(replace(measured, measurement=host), verdict="unknown", reason=NO_GPU, device=CPU)
    run = replace(run, step_seconds=spread(4.0), samples_per_second=2.0)
    text = shown(run, width=width, predicted=predicted)
    assert text.startswith("There is no verdict. ACT with 2 cameras at 640x480, batch 8, on A processor")
    assert f": {NO_GPU}." in flat(text)
    for words in (
        "live tensors 2.00 GiB", "resident memory 3.00 GiB", "update_policy 2.00 s 4.00 s 8.00 s",
        "device CPU, A processor with a long name, 2.70 GHz, 2 threads", "allocated - 9.00 GiB -",
    ):  # fmt: skip
        assert words in flat(text)
    assert "\u2588" not in text
    assert "cache flushes" not in text


def test_predictions_begin_the_same_way(predicted):
    """One implementation serves both; only the tense of PyTorch's message differs."""
    stream = io.StringIO()
    oom = replace(predicted, verdict="oom", oom=OOM, reason="it runs out")
    print_result(oom, Console(file=stream, width=80, highlight=False))
    assert "PyTorch will say: CUDA out of memory." in stream.getvalue()
