"""What is really there: runs on the GPUs and the CPU of this machine, and its data loading."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import builtin_catalogue
from actprof.policies.libraries import require_lerobot
from actprof.progress import Listener, nobody
from actprof.results import Result, Verdict
from actprof.trace.cache import trace_for

if TYPE_CHECKING:
    from actprof.loading.rows import LoaderResult
    from actprof.measuring.measure_cell import Run
    from actprof.snapshots.compare_allocations import Unmatched
    from actprof.step_time.calibration import Calibration


def measure(  # noqa: PLR0913 - the options of a command
    *,
    device: str | None = None,
    boundary: bool = False,
    snapshot: str | Path | None = None,
    steps: int | None = None,
    timeout: float | None = None,
    command: str = "",
    progress: Listener = nobody,
    **options: Any,
) -> Result:
    """Run one training run for real, on a CUDA GPU of this machine or else on its CPU.

    With `gpu` or `capacity` a larger card is held to what that card would have
    (`actprof.measuring.choose_device`).

    Args:
        device: `cpu`, `cuda` or `cuda:1`; the best GPU for it if left out, the CPU where there is none.
        boundary: also find the largest batch size that runs, with a process for each one tried.
        snapshot: leave a memory snapshot of PyTorch there, of a run of its own.
        steps: time exactly so many, without warm-up; two to warm up and at least five if left out.
        timeout: seconds for each process.
        command: what repeats it, for the record.
        progress: told what is happening.
        **options: those of `make_cell`.

    Returns:
        A result whose source is `measured`; a run that failed has the verdict `error`, and nothing more is
        tried.

    Raises:
        UsageError: an option or a device that cannot be, or no folder for the snapshot.
        ActprofError: the boundary or the snapshot could not be had.
    """
    run, cell = _measuring(device=device, timeout=timeout, command=command, progress=progress, **options)
    for asked, option in ((boundary, "--boundary"), (snapshot is not None, "--snapshot")):
        if asked:
            run.check_cuda(option)
    if snapshot is not None and not Path(snapshot).absolute().parent.is_dir():
        raise UsageError(f"--snapshot {snapshot}: there is no folder {Path(snapshot).parent}; make it first")
    result = replace(run, steps=steps).measure(cell)
    if result.verdict == Verdict.FAILED:
        return result
    if boundary:
        from actprof.measuring.boundary import measure_boundary
        from actprof.measuring.worker import forked, measuring_server

        with measuring_server() as server:
            largest = measure_boundary(replace(run, launcher=forked(server)), cell)
        result = replace(result, max_batch_size=largest)
    if snapshot is not None:
        run.snapshot(cell, Path(snapshot))
    return result


def calibrate(
    *, device: str | None = None, output: str | Path | None = None, progress: Listener = nobody
) -> Calibration:
    """Measure how this machine's GPU and host differ from what is predicted, and keep it for predictions.

    About a minute of short work on the GPU; without one about a second, of the host alone.

    Args:
        device: `cpu`, `cuda` or `cuda:1`; the GPU with most free memory if left out.
        output: the file to write; if left out the user's own, which predictions of that GPU use from then
            on, and none without a GPU, as what that says of a GPU's host is too uncertain to be used unasked.
        progress: told what is measured.

    Raises:
        UsageError: no such device, or torch is not installed.
        StoreError: the file cannot be written.
        ActprofError: the process that measures died.
    """
    from actprof.files import write_whole
    from actprof.measuring.calibrate import calibrate as measured
    from actprof.measuring.nvml import usable_gpus
    from actprof.step_time.calibration import own_calibration_file

    found = measured(usable_gpus(), device=device, listener=progress)
    if output is not None or found.gpu:
        path = own_calibration_file() if output is None else Path(output)
        write_whole(path, f"{json.dumps(found.to_json(), indent=2)}\n".encode())
    return found


def compare_snapshot(path: str | Path, cell: Cell) -> tuple[Unmatched, ...]:
    """Return what a memory snapshot of `measure` and the prediction of its cell do not have in common.

    It must begin with an empty allocator, as `measure(snapshot=…)` leaves it.

    Raises:
        UsageError: the snapshot cannot be used, or nobody knows the cell's GPU.
    """
    from actprof.prediction.predict import conditions_of, device_of
    from actprof.snapshots import compare_allocations as compare
    from actprof.snapshots.recording import open_recording

    trace, _cached = trace_for(cell)
    program = conditions_of(cell, device_of(cell)).program(trace, cell.batch_size)
    predicted = compare.predicted_requests(trace, program)
    recording = open_recording(path)
    recorded = compare.recorded_requests(recording)
    return compare.compare_allocations(predicted, recorded, cut_off=compare.ran_out(recording))


def measure_lines(**options: Any) -> str:
    """Return a table of GPU memory by source line of the policy's forward.

    The options are device, timeout, progress and those of the cell, as in `measure`.

    Raises:
        UsageError: there is no CUDA GPU.
        ActprofError: the run failed.
    """
    run, cell = _measuring(**options)
    return run.lines(cell)


def _measuring(
    *,
    device: str | None = None,
    timeout: float | None = None,
    command: str = "",
    progress: Listener = nobody,
    **options: Any,
) -> tuple[Run, Cell]:
    from actprof.measuring.choose_device import choose_gpu, on_this_card
    from actprof.measuring.measure_cell import Run
    from actprof.measuring.nvml import usable_gpus
    from actprof.processes.worker import TIMEOUT_SECONDS

    require_lerobot("measuring")
    catalogue = builtin_catalogue()
    cell = make_cell(default_gpu=None, **options)
    choice = choose_gpu(cell, usable_gpus(), catalogue, device=device)
    run = Run(choice=choice, timeout=timeout or TIMEOUT_SECONDS, listener=progress, command=command)
    return run, on_this_card(cell, choice, catalogue)


def measure_loader(*, listener: Listener = nobody, **question: Any) -> LoaderResult:
    """Measure data loading on this machine, through lerobot's own dataset and DataLoader.

    `actprof.measure_loader(synthetic=(2, 640, 480), resize="224x224")`.

    Args:
        listener: told how many loaders are done, and what is being done.
        **question: fields of `actprof.loading.plan.LoaderQuestion`: synthetic, repo_id, root,
            batch_sizes, workers, backends, storages, resize, policy, overrides, prefetch_factor,
            start_method, seconds, timeout.

    Raises:
        UsageError: a question that cannot be, or a dataset that lerobot does not find or understand.
        StoreError: the synthetic dataset cannot be written.
    """
    from actprof.loading.measure import measure_loading
    from actprof.loading.plan import LoaderQuestion

    try:
        asked = LoaderQuestion(**question)
    except TypeError as error:
        raise UsageError(f"{error}; there are {', '.join(LoaderQuestion.__dataclass_fields__)}") from error
    require_lerobot("measuring data loading")
    return measure_loading(asked, listener=listener)


def write_loader_page(
    result: LoaderResult,
    path: str | Path,
    *,
    step_seconds: float | None = None,
    step_batch_size: int | None = None,
) -> Path:
    """Write the page of loader results to `path` and return it; with a step also what keeps it fed.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.loader_page import render_loading
    from actprof.report.page import write_page

    html = render_loading(result, step_seconds=step_seconds, step_batch_size=step_batch_size)
    return write_page(path, html)


def keep_loading(result: LoaderResult, folder: str | Path) -> Path | None:
    """Put loader results into the store of a sweep in `folder`; return its report, written again, if any.

    A store keeps one: a later one takes its place. Where there is none, none is made.

    Raises:
        StoreError: the store or the page cannot be written.
    """
    from actprof.api.reports import write_report
    from actprof.sweeps.store import FILE_NAME, ResultsStore

    if not (Path(folder) / FILE_NAME).is_file():
        return None
    with ResultsStore(Path(folder)) as store:
        store.put_meta({"loading": result.to_json()})
        is_swept = bool(store.meta().get("cells"))
    return write_report(folder) if is_swept else None
