"""One measured cell: the request that goes out, the result that comes back, and the verdict on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fake_gpu import FakeGpu, FakeWorkload

from actprof.errors import ActprofError, UsageError
from actprof.hardware import find_gpu
from actprof.measure.boundary import measure_boundary
from actprof.measure.choose import Choice
from actprof.measure.launch import WorkerError
from actprof.measure.measurement import CardUse, DeviceFacts, Measurement, StepMemory
from actprof.measure.nvml import LocalGpu
from actprof.measure.request import Answer
from actprof.measure.run import Run, on_this_card
from actprof.measure.steps import summarise, take_steps
from actprof.scenario.cell import Cell
from actprof.units import GIB, MIB

CARD = LocalGpu(
    index=3, uuid="GPU-1", name="NVIDIA H100 80GB HBM3", total_bytes=80 * GIB, used_bytes=0,
    free_bytes=80 * GIB, driver="595.84",
)  # fmt: skip
WHOLE = Choice(type="cuda", gpu=CARD, reason="the only GPU")
CPU = Choice(type="cpu", reason="no NVIDIA GPU here")


class Watcher:
    """Stands for the watch of the card."""

    seen = CardUse(samples=9, process_bytes=95 * MIB, last_bytes=90 * MIB, others_bytes=10 * MIB)

    def __init__(self, index, pid_of):
        self.index, self.pid_of = index, pid_of

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.pid = self.pid_of()

    def use(self):
        return self.seen


class Launcher:
    """Runs requests on the fake GPU, in this process, and remembers them."""

    def __init__(self, total=1 << 30):
        self.total, self.requests, self.environments = total, [], []

    def __call__(self, request, *, environment, started, **_options):
        self.requests.append(request)
        self.environments.append(environment)
        started(4711)
        gpu = FakeGpu(total_bytes=self.total, alloc_conf=request.cell.alloc_conf)
        gpu.prepare(cap_bytes=request.cap_bytes, cudnn_benchmark=True)
        taken = take_steps(
            replace(request, most_seconds=0.0), gpu, lambda _phase: FakeWorkload(gpu, request.cell.batch_size)
        )
        return Answer(
            device=gpu.facts(), encoder_tokens=602, parameters=5, step_seconds=taken.spread("update"),
            measurement=summarise(taken, request, gpu), oom=taken.oom,
        )  # fmt: skip


def make_run(choice=WHOLE, **options):
    return Run(**{"choice": choice, "launcher": Launcher(), "watcher": Watcher, **options})


def test_the_process_gets_what_it_reads_at_its_start():
    """Allocator settings under both names, the one GPU that it may see, and the played card's workspace."""
    run = make_run(replace(WHOLE, workspace_config=":4096:2:16:8"))
    run.measure(Cell(gpu=None, batch_size=4, alloc_conf="expandable_segments:True"))

    assert {
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "CUDA_VISIBLE_DEVICES": "GPU-1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:2:16:8",
    }.items() <= run.launcher.environments[0].items()
    assert (3, "595.84", None) == (
        run.launcher.requests[0].index, run.launcher.requests[0].driver, run.launcher.requests[0].cap_bytes,
    )  # fmt: skip


def test_a_run_that_gets_through_has_the_fields_of_a_prediction():
    """Tokens, peaks, verdict; the context is what NVML saw beyond the segments; speed is by the median."""
    result = make_run(command="actprof measure").measure(Cell(gpu=None, batch_size=4))

    reserved = result.peak_reserved_bytes
    assert ("measured", "fits", 602, 5) == (
        result.source, result.verdict, result.encoder_tokens, result.parameters,
    )  # fmt: skip
    assert 90 * MIB - reserved == result.gpu.context_bytes
    assert 90 * MIB == result.peak_process_bytes
    assert (1 << 30) == result.gpu.capacity_bytes  # as torch reports it
    assert 4 / result.step_seconds.median == result.samples_per_second
    assert ("actprof measure", Watcher.seen) == (result.measurement.command, result.measurement.card)


def test_a_run_that_dies_for_memory_is_oom():
    """With the message of the run."""
    result = make_run(launcher=Launcher(80 * MIB)).measure(Cell(gpu=None, batch_size=64))

    assert "oom" == result.verdict
    assert "Tried to allocate" in result.oom.message
    assert result.step_seconds is None
    assert result.samples_per_second is None


def test_a_capped_run_is_judged_as_the_card_it_plays():
    """The capacity is the played card's; what may be reserved is the cap."""
    choice = replace(WHOLE, cap_bytes=80 * MIB, plays="T4")
    run = make_run(choice)
    small, large = (run.measure(Cell(gpu="T4", batch_size=size)) for size in (4, 64))

    assert find_gpu("T4").capacity_bytes == small.gpu.capacity_bytes
    assert 80 * MIB - small.peak_reserved_bytes == small.headroom_bytes
    assert ("oom", 80 * MIB) == (large.verdict, large.measurement.cap_bytes)


def test_a_card_that_plays_another_keeps_its_own_context_apart():
    """The played card's context is what the cap leaves room for; the local one is told beside it."""
    result = make_run(replace(WHOLE, cap_bytes=80 * MIB, plays="T4")).measure(Cell(gpu="T4", batch_size=4))

    assert find_gpu("T4").context_bytes == result.gpu.context_bytes
    assert result.peak_reserved_bytes + find_gpu("T4").context_bytes == result.peak_process_bytes
    assert 90 * MIB - result.peak_reserved_bytes == result.measurement.context_bytes


def test_a_run_that_ran_out_lacks_what_it_asked_for():
    """Its headroom is negative, though no step was finished."""
    choice = replace(WHOLE, cap_bytes=80 * MIB, plays="T4")
    result = make_run(choice).measure(Cell(gpu="T4", batch_size=64))

    assert () == result.measurement.step_memory
    assert 80 * MIB - result.oom.reserved_bytes - result.oom.segment_bytes == result.headroom_bytes < 0


def stepped(*steps, cudnn_benchmark=True):
    """Return the result of a run whose steps had these (reserved bytes, flushes)."""
    memory = tuple(
        StepMemory(peak_allocated_bytes=MIB, peak_reserved_bytes=size, retries=flushes)
        for size, flushes in steps
    )
    found = Measurement(
        step_memory=memory, allocator_retries=sum(flushes for _size, flushes in steps), cap_bytes=GIB,
        cudnn_benchmark=cudnn_benchmark,
    )  # fmt: skip
    answer = Answer(device=DeviceFacts(type="cuda", name="it", total_bytes=GIB), measurement=found)
    run = make_run(replace(WHOLE, cap_bytes=GIB, plays="T4"), launcher=lambda *_args, **_options: answer)
    return run.measure(Cell(gpu="T4"))


def test_what_cudnn_does_while_it_tries_its_plans_is_no_flush_of_the_run():
    """The first step fills the card and flushes the cache; the run fits, as it is predicted to."""
    steps = ((GIB, 3), (200 * MIB, 0), (200 * MIB, 0))
    tried, heuristics = stepped(*steps), stepped(*steps, cudnn_benchmark=False)

    assert ("fits", 0, GIB - 200 * MIB) == (tried.verdict, tried.retries, tried.headroom_bytes)
    assert ("tight", 3, 3) == (heuristics.verdict, heuristics.retries, tried.measurement.allocator_retries)
    assert ("tight", 1) == (stepped((GIB, 3), (9, 1)).verdict, stepped((GIB, 3), (9, 1)).retries)


def test_no_context_is_read_off_a_run_that_flushed():
    """Its segments at the last look are not those of its peak."""
    settled, flushed = (
        stepped((MIB, 0), (60 * MIB, count), (60 * MIB, count)).measurement.context_bytes for count in (0, 1)
    )
    assert (30 * MIB, 0) == (settled, flushed)


def test_a_cap_on_expandable_segments_says_what_it_cannot_do():
    """PyTorch tests it for whole requests."""
    choice = replace(WHOLE, cap_bytes=80 * MIB, plays="T4")
    native, expandable = (
        make_run(choice).measure(Cell(gpu="T4", batch_size=4, alloc_conf=conf)).assumptions
        for conf in ("", "expandable_segments:True")
    )
    assert (1, 2) == (len(native), len(expandable))
    assert "expandable" in expandable[1]


def test_a_worker_that_fails_is_an_error_row():
    """Its reason and last lines are kept; nothing is raised."""

    def fails(_request, **_options):
        raise WorkerError("killed by SIGKILL", ("last words",))

    result = make_run(launcher=fails).measure(Cell(gpu=None))

    assert ("error", "killed by SIGKILL") == (result.verdict, result.reason)
    assert ("last words",) == result.measurement.stderr


def test_on_the_cpu_nothing_is_said_of_a_gpu():
    """Live tensors and resident memory are reported; the verdict is unknown, with the reason."""

    def on_cpu(request, **_options):
        measurement = replace(summarise_nothing(request), live_tensor_bytes=7, resident_bytes=9)
        return Answer(device=DeviceFacts(type="cpu", name="it"), measurement=measurement)

    run = make_run(CPU, launcher=on_cpu)
    result = run.measure(Cell(batch_size=2))

    assert ("unknown", 7, 9) == (result.verdict, result.peak_allocated_bytes, result.peak_process_bytes)
    assert "CPU" in result.reason
    for ask in (
        lambda: run.lines(Cell()),
        lambda: run.snapshot(Cell(), None),
        lambda: measure_boundary(run, Cell()),
    ):
        with pytest.raises(UsageError, match="no NVIDIA GPU here"):
            ask()


def summarise_nothing(request):
    gpu = FakeGpu()
    gpu.prepare(cap_bytes=None, cudnn_benchmark=True)
    return summarise(take_steps(replace(request, steps=0), gpu, lambda _phase: None), request, gpu)


def test_a_snapshot_is_a_run_of_its_own(tmp_path):
    """A few steps from an empty allocator, with the history on; no time is taken from them."""
    run = make_run()
    run.snapshot(Cell(gpu=None, batch_size=2), tmp_path / "act.pickle")

    request = run.launcher.requests[0]
    assert ("snapshot", str(tmp_path / "act.pickle"), 3) == (request.purpose, request.snapshot, request.steps)


def test_what_the_search_tries_is_told():
    """The size beyond the boundary too: its message says what was asked for."""
    told = []
    boundary = measure_boundary(
        make_run(launcher=Launcher(100 * MIB)), Cell(gpu=None), guess=30, tried=told.append
    )

    found = {result.cell.batch_size: result.verdict for result in told}
    assert ("oom", True) == (found[boundary + 1], found[boundary] != "oom")


@pytest.mark.parametrize("guess", [1, 30, 500])
def test_the_measured_boundary_is_confirmed_on_both_sides(guess):
    """From any guess: the size runs ten steps, the next one does not; each in a run of its own."""
    launcher = Launcher(100 * MIB)
    boundary = measure_boundary(make_run(launcher=launcher), Cell(gpu=None), guess=guess)

    tried = {request.cell.batch_size: request.steps for request in launcher.requests}
    assert {10} == set(tried.values())
    assert {boundary, boundary + 1} <= set(tried)
    assert len(launcher.requests) == len(tried)
    run = make_run(launcher=Launcher(100 * MIB))
    assert [True, False] == [
        run.measure(Cell(gpu=None, batch_size=size)).runs for size in (boundary, boundary + 1)
    ]


def test_a_boundary_is_not_guessed_from_failures():
    """A run that dies of something else ends the search."""

    def fails(_request, **_options):
        raise WorkerError("the worker was killed")

    with pytest.raises(ActprofError, match="batch size 8 could not be tried: the worker was killed"):
        measure_boundary(make_run(launcher=fails), Cell(gpu=None), guess=8)


def test_a_cell_without_gpu_is_about_the_card_that_is_here():
    """A card of the catalogue by its name there, another one by its memory."""
    catalogue = make_run().catalogue
    strange = replace(WHOLE, gpu=replace(CARD, name="Unheard Of 9"))

    assert "H100 80 GB" in on_this_card(Cell(gpu=None), WHOLE, catalogue).gpu
    assert int(0.96 * 80 * GIB) == on_this_card(Cell(gpu=None), strange, catalogue).capacity_bytes
    assert Cell() == on_this_card(Cell(), WHOLE, catalogue)
    assert Cell(gpu=None) == on_this_card(Cell(gpu=None), CPU, catalogue)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_real_gpu_the_measured_peak_is_the_predicted_one():
    """A small ACT: allocated within a hundredth of a GiB of the prediction."""
    import actprof

    result = actprof.measure(batch_size=2, resolution="224x224")
    predicted = actprof.predict(batch_size=2, resolution="224x224", gpu=result.cell.gpu)

    assert ("measured", 100) == (result.source, result.encoder_tokens)
    assert predicted.peak_allocated_bytes == pytest.approx(result.peak_allocated_bytes, abs=GIB / 100)
