"""One measured cell: the request that goes out, the result that comes back, and the verdict on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_gpu import FakeGpu
from stand_ins import CARD, WHOLE, Launcher, Watcher

from actprof.cell import Cell
from actprof.errors import ActprofError, UsageError
from actprof.hardware import find_gpu
from actprof.measurement import DeviceFacts
from actprof.measuring.boundary import measure_boundary
from actprof.measuring.choose_device import Choice, on_this_card
from actprof.measuring.measure_cell import Run
from actprof.measuring.request import Answer
from actprof.measuring.training_steps import summarise, take_steps
from actprof.processes.worker import WorkerError
from actprof.units import GIB, MIB

CPU = Choice(type="cpu", reason="no NVIDIA GPU here")


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


def test_what_a_shell_has_set_does_not_get_into_a_run():
    """The prediction knows nothing of it: only the cell's settings count, and the played card's workspace."""
    run, played = make_run(), make_run(replace(WHOLE, workspace_config=":4096:8"))
    for each in (run, played):
        each.measure(Cell(gpu=None, batch_size=4))

    (environment,), (other,) = run.launcher.environments, played.launcher.environments
    assert {None} == {environment["CUBLAS_WORKSPACE_CONFIG"], environment["PYTORCH_NO_CUDA_MEMORY_CACHING"]}
    assert ":4096:8" == other["CUBLAS_WORKSPACE_CONFIG"]


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


def test_a_cap_on_expandable_segments_says_what_it_cannot_do():
    """PyTorch tests it for whole requests."""
    choice = replace(WHOLE, cap_bytes=80 * MIB, plays="T4")
    native, expandable, collecting = (
        make_run(choice).measure(Cell(gpu="T4", batch_size=4, alloc_conf=conf)).assumptions
        for conf in ("", "expandable_segments:True", "garbage_collection_threshold:0.8")
    )
    assert (1, 2, 2) == (len(native), len(expandable), len(collecting))
    assert "expandable" in expandable[1]
    assert "garbage_collection_threshold counts from the cap here" in collecting[1]


def test_one_of_several_gpus_says_that_the_others_are_pretended():
    """Its samples per second are those of all, and none of them waits."""
    result = make_run(WHOLE).measure(Cell(gpu="T4", batch_size=4, world_size=2))
    assert "one device ran as each of 2 GPUs would" in result.assumptions[1]


def test_a_fraction_in_the_settings_holds_on_a_card_that_is_played():
    """It is a fraction of the played card; PyTorch has one limit, which the cap would replace."""
    card = find_gpu("T4")
    for conf, cap in (
        ("", GIB),
        ("per_process_memory_fraction:0.01", int(0.01 * card.capacity_bytes)),
        ("per_process_memory_fraction:0.99", GIB),
    ):
        run = make_run(replace(WHOLE, cap_bytes=GIB, plays="T4"))
        result = run.measure(Cell(gpu="T4", batch_size=4, alloc_conf=conf))
        assert cap == run.launcher.requests[0].cap_bytes == result.measurement.cap_bytes


def test_a_worker_that_fails_is_an_error_row():
    """Its reason and last lines are kept; nothing is raised."""

    def fails(*_asked):
        raise WorkerError("killed by SIGKILL", ("last words",))

    result = make_run(launcher=fails).measure(Cell(gpu=None))

    assert ("error", "killed by SIGKILL") == (result.verdict, result.reason)
    assert ("last words",) == result.measurement.stderr


def test_on_the_cpu_nothing_is_said_of_a_gpu():
    """Live tensors and resident memory are reported; the verdict is unknown, with the reason."""

    def on_cpu(request, _conditions):
        measurement = replace(summarise_nothing(request), live_tensor_bytes=7, resident_bytes=9)
        return Answer(device=DeviceFacts(type="cpu", name="it"), measurement=measurement)

    run = make_run(CPU, launcher=on_cpu)
    result = run.measure(Cell(batch_size=2))

    assert ("unknown", 7, 9) == (result.verdict, result.peak_allocated_bytes, result.peak_process_bytes)
    assert "it ran on the CPU (no NVIDIA GPU here), which says nothing about a GPU's memory" == result.reason
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
    assert ("snapshot", 3) == (request.purpose, request.steps)
    assert ["act.pickle"] == [path.name for path in tmp_path.iterdir()]
    assert b"all of it" == (tmp_path / "act.pickle").read_bytes()


def test_a_snapshot_that_breaks_off_leaves_what_was_there(tmp_path):
    """No half of a new one, and no temporary file."""
    place = tmp_path / "act.pickle"
    place.write_bytes(b"an older one")

    def dies(request, _conditions):
        Path(request.snapshot).write_bytes(b"half of")
        raise WorkerError("the worker was killed")

    with pytest.raises(WorkerError):
        make_run(launcher=dies).snapshot(Cell(gpu=None), place)

    assert [place] == list(tmp_path.iterdir())
    assert b"an older one" == place.read_bytes()


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

    def fails(*_asked):
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
