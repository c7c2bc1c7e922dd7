"""The functions of the public API; the command line only calls these."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.errors import UsageError
from actprof.explanation import Explanation, explain_cell
from actprof.hardware import builtin_catalogue, find_gpu
from actprof.hardware.entries import parse_capacity
from actprof.policies import policy_module
from actprof.prediction import predict_cell
from actprof.records import from_plain, to_plain
from actprof.results import MEASURED, Result
from actprof.scenario import Cell, Scenario
from actprof.trace.cache import trace_for
from actprof.trace.model import PolicyFacts
from actprof.units import parse_bytes
from actprof.versions import library_versions

if TYPE_CHECKING:
    import pandas as pd

    from actprof.allocator.outcome import SnapshotReplay
    from actprof.allocator.verify import Verification
    from actprof.analysis.accuracy import Accuracy, AccuracyRow
    from actprof.analysis.compare_allocations import Unmatched
    from actprof.analysis.expectations import Outcome
    from actprof.analysis.reach import Combination
    from actprof.analysis.suggest import Listener, Remedy
    from actprof.launch.preflight import Preflight
    from actprof.measure.run import Run
    from actprof.sweep.runner import Progress

DEFAULT_GPU = "RTX 3090"
REPORT_NAME = "report.html"
CSV_NAME = "results.csv"


def make_cell(
    *,
    policy: str = "act",
    overrides: Mapping[str, Any] | None = None,
    capacity: str | int | None = None,
    used_by_others: str | int = 0,
    gpu: str | None = None,
    default_gpu: str | None = DEFAULT_GPU,
    **fields: Any,
) -> Cell:
    """Return the cell of keyword options, checked.

    Args:
        policy: lerobot's name of the policy.
        overrides: fields of the policy's lerobot config.
        capacity: memory of the device (`"23.69GiB"` or bytes); alone, it stands for a GPU of that size.
        used_by_others: memory that other processes hold.
        gpu: name of a GPU of the catalogue.
        default_gpu: what it is when neither it nor `capacity` is given.
        **fields: other fields of `Cell`: cameras, resolution, batch_size, state_dim, action_dim, optimizer,
            precision, alloc_conf, cudnn_benchmark, changes.

    Raises:
        UsageError: a field that a cell does not have, or a value that it cannot have.
    """
    policy_module(policy)  # refuses an unknown one
    if gpu is None and capacity is None:
        gpu = default_gpu
    try:
        return Cell(
            policy=policy,
            overrides=dict(overrides or {}),
            gpu=None if gpu is None else find_gpu(gpu).name,
            capacity_bytes=None if capacity is None else parse_capacity(str(capacity)),
            used_by_others_bytes=_with_unit(used_by_others),
            **fields,
        )
    except TypeError as error:
        raise UsageError(f"{error}; a cell has {', '.join(Cell.__dataclass_fields__)}") from error


def _with_unit(size: str | int) -> int:
    """Return the bytes of `size`; a text that is a bare number above 0 is a forgotten unit."""
    if isinstance(size, str) and size.strip().replace(".", "").isdigit() and float(size) > 0:
        raise UsageError(f"{size!r} has no unit; write it like 2.3GiB, 512MiB or 1000B")
    return parse_bytes(size)


def predict(**options: Any) -> Result:
    """Predict one training run without a GPU.

    `actprof.predict(policy="act", resolution="640x480", cameras=2, batch_size=64, gpu="RTX 3090")`;
    the options are those of `make_cell`.

    Raises:
        UsageError: an option, a GPU or a field of the policy's config that cannot be.
    """
    return predict_cell(make_cell(**options))


def measure(
    *,
    device: str | None = None,
    boundary: bool = False,
    snapshot: str | Path | None = None,
    steps: int | None = None,
    timeout: float | None = None,
    command: str = "",
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Result:
    """Run one training run for real, on a CUDA GPU of this machine or else on its CPU.

    With `gpu` or `capacity` a larger card is held to what that card would have (`actprof.measure.choose`).

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
        A result whose source is `measured`; a run that failed has the verdict `error`.

    Raises:
        UsageError: an option or a device that cannot be.
        ActprofError: the boundary or the snapshot could not be had.
    """
    run, cell = _measuring(device=device, timeout=timeout, command=command, progress=progress, **options)
    for asked, option in ((boundary, "--boundary"), (snapshot is not None, "--snapshot")):
        if asked:
            run.check_cuda(option)
    result = replace(run, steps=steps).measure(cell)
    if boundary:
        from actprof.measure.boundary import measure_boundary

        result = replace(result, max_batch_size=measure_boundary(run, cell))
    if snapshot is not None:
        run.snapshot(cell, Path(snapshot))
    return result


def compare_snapshot(path: str | Path, cell: Cell) -> tuple[Unmatched, ...]:
    """Return what a memory snapshot of `measure` and the prediction of its cell do not have in common.

    Args:
        path: a snapshot that begins with an empty allocator, as `measure(snapshot=…)` leaves it.
        cell: the cell that was measured.

    Raises:
        UsageError: the snapshot cannot be used, or nobody knows the cell's GPU.
    """
    from actprof.allocator.recording import open_recording
    from actprof.analysis import compare_allocations as compare
    from actprof.prediction import device_of, gpu_of

    trace, _cached = trace_for(cell)
    workspaces = device_of(gpu_of(cell, builtin_catalogue()), cell).workspaces
    predicted = compare.predicted_requests(trace, cell.batch_size, workspaces)
    return compare.compare_allocations(predicted, compare.recorded_requests(open_recording(path)))


def measure_lines(
    *,
    device: str | None = None,
    timeout: float | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> str:
    """Return a table of GPU memory by source line of the policy's forward; options as in `measure`.

    Raises:
        UsageError: there is no CUDA GPU.
        ActprofError: the run failed.
    """
    run, cell = _measuring(device=device, timeout=timeout, command="", progress=progress, **options)
    return run.lines(cell)


def _measuring(
    *,
    device: str | None,
    timeout: float | None,
    command: str,
    progress: Callable[[str], None] | None,
    **options: Any,
) -> tuple[Run, Cell]:
    from actprof.measure.choose import choose_gpu, usable_gpus
    from actprof.measure.launch import TIMEOUT_SECONDS
    from actprof.measure.run import Run, on_this_card

    catalogue = builtin_catalogue()
    cell = make_cell(default_gpu=None, **options)
    choice = choose_gpu(cell, usable_gpus(), catalogue, device=device)
    run = Run(choice=choice, timeout=timeout or TIMEOUT_SECONDS, progress=progress, command=command)
    return run, on_this_card(cell, choice, catalogue)


def params(**options: Any) -> PolicyFacts:
    """Return the parameters of a policy, one by one, with their components; options as in `predict`."""
    trace, _cached = trace_for(make_cell(**options))
    return trace.policy


def replay_snapshot(
    path: str | Path,
    *,
    device: int | None = None,
    gpu: str | None = None,
    capacity: str | int | None = None,
    alloc_conf: str | None = None,
    compare: Sequence[str] = (),
    torch_version: str | None = None,
    listener: Callable[[str, int], None] | None = None,
) -> SnapshotReplay:
    """Replay a memory snapshot of PyTorch as it was recorded, then under other settings.

    Args:
        path: a file of `torch.cuda.memory._dump_snapshot`.
        device: number of the GPU in it; the first one with events if left out.
        gpu: a GPU of the catalogue to replay on.
        capacity: memory of the device to replay on, like `"24GiB"`; the CUDA context comes out of it.
        alloc_conf: a PYTORCH_CUDA_ALLOC_CONF to replay under.
        compare: more of them, one column each.
        torch_version: the release whose rules are meant, like `"2.11"`.
        listener: told `("read", bytes)` while the file is read, then `(label, 0)` before each replay.

    Raises:
        UsageError: a setting or GPU that cannot be, or (as `SnapshotError`) a file that cannot be used.
    """
    from actprof.allocator.questions import make_questions
    from actprof.allocator.recording import open_recording
    from actprof.allocator.snapshot_replay import replay_recording

    tell = listener or (lambda _what, _amount: None)
    questions = make_questions(gpu=gpu, capacity=capacity, alloc_conf=alloc_conf, compare=compare)
    recording = open_recording(
        path, device=device, torch_version=torch_version, progress=lambda done: tell("read", done)
    )
    return replay_recording(recording, questions, name=Path(path).name, progress=lambda label: tell(label, 0))


def write_replay_page(replay: SnapshotReplay, path: str | Path) -> Path:
    """Write the page of a replay, one file that needs no network, and return its path.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.replay_page import write_replay_page as write_page

    return write_page(replay, path)


def verify_snapshot(
    path: str | Path,
    *,
    device: int | None = None,
    torch_version: str | None = None,
    listener: Callable[[str, int], None] | None = None,
) -> Verification:
    """Check the simulated allocator against a recorded one, event by event; options as in `replay_snapshot`.

    Raises:
        UsageError: a version that cannot be, or (as `SnapshotError`) a file that cannot be used.
    """
    from actprof.allocator.recording import open_recording
    from actprof.allocator.verify import verify

    tell = listener or (lambda _what, _amount: None)
    recording = open_recording(
        path, device=device, torch_version=torch_version, progress=lambda done: tell("read", done)
    )
    tell("as recorded", 0)
    return verify(recording)


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: what is wrong with it, with file and line.
    """
    from actprof.scenario import load_scenario as load

    return load(path)


def sweep(
    scenario: Scenario,
    *,
    mode: str = "auto",
    gpu: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    ground: bool = True,
    out: str | Path | None = None,
    listener: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Answer the grid of a scenario; leave `results.sqlite`, `results.csv` and `report.html` in a folder.

    Args:
        scenario: from `load_scenario`.
        mode: `predict`; `measure`: also run each cell on a GPU of this machine; `auto`: measure the cells
            whose GPU, or one with at least its memory, is here.
        gpu: another GPU than the scenario's.
        jobs: worker processes; one for each core if left out.
        fresh: answer again what is known already.
        ground: also run each distinct policy on the CPU with real tensors.
        out: the folder; `reports/<scenario>` if left out.
        listener: told about the progress after every task.

    Returns:
        One row per cell, and one more for each measured cell; see `actprof.sweep.table.results_frame`.

    Raises:
        UsageError: the scenario asks for what cannot be.
        StoreError: the folder cannot be written.
    """
    from actprof.sweep.checking import check_with
    from actprof.sweep.measuring import measure_cells, plan_measuring
    from actprof.sweep.runner import default_folder, run_sweep
    from actprof.sweep.store import ResultsStore
    from actprof.sweep.table import results_frame, write_csv

    if gpu is not None:
        scenario = scenario.with_gpu(gpu)
    folder = default_folder(scenario) if out is None else Path(out)
    plan = plan_measuring(scenario, mode)
    with ResultsStore(folder) as store:
        meta = _scenario_meta(scenario, gpu=gpu, mode=mode, measuring=plan.reason)
        store.put_meta(meta)
        results = run_sweep(scenario, store, jobs=jobs, fresh=fresh, ground=ground, listener=listener)
        results += measure_cells(
            scenario, store, plan, fresh=fresh, command=meta["command"], listener=listener
        )
        outcomes = check_with(scenario, store, jobs=jobs, fresh=fresh, listener=listener)
        store.put_meta({"outcomes": to_plain(outcomes)})
    frame = results_frame(results)
    write_csv(frame, folder / CSV_NAME)
    write_report(folder)
    return frame


def check(
    scenario: Scenario,
    *,
    gpu: str | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    listener: Callable[[Progress], None] | None = None,
) -> tuple[Outcome, ...]:
    """Return what becomes of each expectation of a scenario: held, broken, or not to be told.

    Only the cells that the expectations are about are predicted.

    Args:
        scenario: from `load_scenario`.
        gpu: another GPU than the scenario's, for what does not name its own.
        jobs: worker processes, where something must be traced.
        out: the folder of its results, if it was swept; `reports/<scenario>` if left out.
        listener: told about the progress after every task.

    Raises:
        UsageError: the scenario expects nothing, or asks for what cannot be.
        StoreError: the results cannot be read or written.
    """
    from actprof.sweep.checking import check_scenario
    from actprof.sweep.runner import default_folder

    if gpu is not None:
        scenario = scenario.with_gpu(gpu)
    folder = default_folder(scenario) if out is None else Path(out)
    return check_scenario(scenario, folder, jobs=jobs, listener=listener)


def _scenario_meta(scenario: Scenario, *, gpu: str | None, mode: str, measuring: str) -> dict[str, Any]:
    command = ["actprof", "sweep", str(scenario.path or scenario.name)]
    if gpu is not None:
        command += ["--gpu", gpu]
    if mode != "auto":
        command += ["--mode", mode]
    return {
        "name": scenario.name,
        "question": scenario.question,
        "measuring": measuring,
        "command": shlex.join(command),
        "cells": [cell.to_json() for cell in scenario.cells],
        "outcomes": [],  # until they are known
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }


def write_report(folder: str | Path) -> Path:
    """Write `report.html` from the store in `folder` and return its path; needs no torch.

    Raises:
        StoreError: there is no store, or the page cannot be written.
    """
    from actprof.analysis.expectations import Outcome
    from actprof.report import Report
    from actprof.report import write_report as write_page
    from actprof.sweep.store import ResultsStore

    folder = Path(folder)
    with ResultsStore(folder, create=False) as store:
        meta = store.meta()
        cells = [Cell.from_json(cell) for cell in meta.get("cells", [])] or None
        page = Report(
            name=meta.get("name", folder.name),
            question=meta.get("question", ""),
            results=store.results(cells),
            measured=store.results(cells, source=MEASURED),
            planned=None if cells is None else len(cells),
            groundings=store.groundings(cells),
            outcomes=tuple(from_plain(Outcome, outcome) for outcome in meta.get("outcomes", [])),
            command=meta.get("command", ""),
            created=meta.get("created", ""),
            versions=meta.get("versions", {}),
        )
    path = folder / REPORT_NAME
    write_page(page, path)
    return path


def accuracy(
    folder: str | Path = "reports/accuracy",
    *,
    add: Sequence[str | Path] = (),
    refresh: bool = False,
    check: bool = False,
    listener: Callable[[AccuracyRow], None] | None = None,
) -> Accuracy:
    """Return how true predictions are, by the ledger in `folder`, and write its page there.

    Args:
        folder: with `rows.jsonl`; the page is `accuracy.html`.
        add: folders of sweeps with measured results, and files that `actprof measure --json` printed.
        refresh: predict every row again and store that.
        check: predict every row again and only compare (see `changed`); no page is written.
        listener: told of each row before it is predicted.

    Raises:
        UsageError: nothing can be compared in what is to be added, or a cell that can no longer be.
        StoreError: a file cannot be read or written, or there is no ledger.
    """
    from actprof.accuracy_ledger import keep_ledger

    return keep_ledger(folder, add=add, predict_again=refresh, check=check, listener=listener)


def explain(**options: Any) -> Explanation:
    """Say who holds the memory of one training run, without a GPU.

    At the peak and, where it runs out, at that moment: by kind, module, op and tensor. The options are
    those of `make_cell`.

    Raises:
        UsageError: an option, a GPU or a field of the policy's config that cannot be.
        TraceError: the training step cannot be traced; says why.
    """
    return explain_cell(make_cell(**options))


def write_explanation_page(
    found: Explanation, path: str | Path, *, versus: Explanation | None = None
) -> Path:
    """Write the page of an explanation, one file that needs no network, and return its path.

    Args:
        found: from `explain`.
        path: of the file.
        versus: another one, whose difference the page shows as well.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.explain_page import write_explain_page

    return write_explain_page(found, path, versus=versus)


def suggest(
    *,
    cell: Cell | None = None,
    target_batch: int | None = None,
    limit: int | None = None,
    only_cached: bool = False,
    jobs: int | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> tuple[Remedy, ...]:
    """Return what can be done so that a training run fits, the most useful first, each with its prediction.

    Args:
        cell: the run; else `options` say which.
        target_batch: the batch size that is wanted; it is then not made smaller.
        limit: so many remedies at most.
        only_cached: leave out what would have to be traced.
        jobs: worker processes for tracing; one for each core if left out.
        listener: told about the progress.
        **options: those of `make_cell`.

    Raises:
        UsageError: an option that cannot be.
    """
    from actprof.analysis.suggest import suggest as suggest_for

    return suggest_for(
        _either(cell, options),
        target_batch=target_batch,
        limit=limit,
        only_cached=only_cached,
        jobs=jobs,
        listener=listener,
    )


def reach(
    target_batch: int,
    *,
    cell: Cell | None = None,
    limit: int = 4,
    jobs: int | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> tuple[Combination, ...]:
    """Return which remedies, up to three together, make a batch size fit; the least effort first.

    Args:
        target_batch: the batch size that is wanted.
        cell: the run; else `options` say which.
        limit: so many answers at most.
        jobs: worker processes for tracing; one for each core if left out.
        listener: told about the progress.
        **options: those of `make_cell`.

    Raises:
        UsageError: an option that cannot be.
    """
    from actprof.analysis.reach import reach as reach_for

    return reach_for(_either(cell, options), target_batch, limit=limit, jobs=jobs, listener=listener)


def _either(cell: Cell | None, options: Mapping[str, Any]) -> Cell:
    if cell is None:
        return make_cell(**options)
    if options:
        raise UsageError(f"a cell says everything; leave out {', '.join(options)}")
    return cell


def preflight(
    command: str | Sequence[str] = (),
    *,
    config: str | Path | None = None,
    gpu: str | None = None,
    capacity: str | None = None,
    used_by_others: str | None = None,
    cameras: int | None = None,
    resolution: str | None = None,
    state_dim: int | None = None,
    action_dim: int | None = None,
    load_seconds: float | None = None,
    price_per_hour: float | None = None,
    remedies: bool = True,
) -> Preflight:
    """Say whether a `lerobot-train` command will run out of memory.

    Args:
        command: the command as it would be run, one text or its words.
        config: a saved `train_config.json` instead.
        gpu: the card that it is to run on; that of `--job.target`, else the one in this machine as it is
            now, if left out.
        capacity: its memory, like `"23.69GiB"`.
        used_by_others: what other programs hold of a card that is not here.
        cameras: how many, where the dataset's metadata is not at hand or others are meant.
        resolution: of each of them.
        state_dim: length of the robot's state, likewise.
        action_dim: length of one action, likewise.
        load_seconds: from one batch to the next, as `measure_loader` finds; loading is left out otherwise.
        price_per_hour: dollars, of the machine; that of `--job.target` if left out.
        remedies: also look for them where the run does not simply fit.

    Raises:
        UsageError: lerobot refuses the command, or something needed is neither found nor given.
        UnknownAnswerError: the command names a file on the Hub that cannot be had.
    """
    from actprof.launch.command_line import parse_command_line
    from actprof.launch.preflight import GpuAsked, SpeedGiven, config_command, run_preflight
    from actprof.launch.run_cell import Given

    if config is not None and command:
        raise UsageError("give a command or --config, not both; a command may have --config_path itself")
    line = parse_command_line(command) if config is None else config_command(config)
    return run_preflight(
        line,
        asked=GpuAsked(gpu=gpu, capacity=capacity, used_by_others=used_by_others),
        given=Given(cameras=cameras, resolution=resolution, state_dim=state_dim, action_dim=action_dim),
        speed=SpeedGiven(load_seconds=load_seconds, price_per_hour=price_per_hour),
        may_exist=config is not None,
        remedies=remedies,
    )
