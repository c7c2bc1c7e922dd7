"""What runs in the process that loads one source: its DataLoaders, timed one after another.

The dataset is made by lerobot's `make_dataset` from a training config of the policy, the DataLoader with the
arguments that `lerobot_train` gives it. DataLoader workers are started by `spawn`, lerobot's default, and
import this module: nothing heavy is imported at its top.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_start_method
from typing import Any

from actprof.loading.dataset import (
    dataset_files,
    describe,
    drop_cached,
    loading_of,
    make_config,
    make_loader,
    open_dataset,
    query_of_numbers,
    start_method,
    windows,
)
from actprof.loading.host_memory import LIBRARIES, Loading, host_memory
from actprof.loading.lend_ffmpeg import why_not
from actprof.loading.own_memory import own_memory
from actprof.loading.plan import Load, SourceRequest
from actprof.loading.rows import COLD, IMAGES, WARM, DatasetFacts, LoaderRow, Source
from actprof.loading.stages import time_stages
from actprof.measurement import Spread
from actprof.processes.child import tell
from actprof.versions import UNKNOWN, package_version

_LEAST_ROUNDS = 3
_PATIENCE = 4  # times the seconds after which even the least number of rounds is not waited for
_STAGE_SAMPLES = 64
_LEAST_QUIET = 1.0  # seconds in which nothing is loaded any more
_LONGEST_WAIT = 30.0  # seconds for the workers to get ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswer:
    """What was found: a row per load, in their order; or why the backend was `refused`.

    `settings` are lerobot's of the loader, in words; `torch_threads` are those of the process; a sample has
    `chunk_size` actions and `frames` frames of each camera.
    """

    source: Source | None = None
    rows: tuple[LoaderRow, ...] = ()
    facts: DatasetFacts | None = None
    torch_threads: int = 0
    chunk_size: int = 0
    frames: int = 1
    settings: tuple[str, ...] = ()
    refused: str = ""


def load_source(request: SourceRequest) -> SourceAnswer:
    """Measure every load of the request.

    Raises:
        UsageError: lerobot does not find or understand the dataset.
    """
    tell("importing lerobot")
    refused = why_not(request.backend)
    if refused:
        return SourceAnswer(refused=refused)
    import torch

    from actprof.quiet import quiet_imports

    with quiet_imports():
        config = make_config(request, request.loads[0])
        dataset = open_dataset(config)
    source, facts = describe(dataset, request)
    rows: list[LoaderRow] = []
    for load in request.loads:
        tell(f"{source}: {_say(load)}")
        reason = too_slow(rows, request.seconds) if load.workers else ""
        loads_itself = not load.workers or any(not row.workers for row in rows)
        rows.append(
            row_of(source, load, reason)
            if reason
            else _measure(dataset, request, source, load, loads_itself=loads_itself)
        )
    if source.storage == IMAGES:
        rows += _with_actions_alone(dataset, request, source)
    steps = windows(config, dataset)
    return SourceAnswer(
        source=source, rows=tuple(rows), facts=facts, torch_threads=torch.get_num_threads(),
        chunk_size=steps.get("action", 1), frames=steps.get(dataset.meta.camera_keys[0], 1),
        settings=_settings(config),
    )  # fmt: skip


def too_slow(rows: list[LoaderRow], seconds: float) -> str:
    """Return why loaders with workers are not waited for, after what one batch takes without; or nothing."""
    taken = max((row.batch_seconds.median for row in rows if row.batch_seconds is not None), default=0.0)
    if taken <= _PATIENCE * seconds:
        return ""
    return f"a batch takes {taken:.0f} s without workers; give --seconds {taken:.0f} to measure with some"


def row_of(source: Source, load: Load, reason: str = "") -> LoaderRow:
    """Return the row of a load without figures, and why it has none."""
    return LoaderRow(
        source=source, batch_size=load.batch_size, workers=load.workers, cache=load.cache, reason=reason
    )


def _with_actions_alone(dataset: Any, request: SourceRequest, source: Source) -> list[LoaderRow]:
    """Return rows of the same dataset, its windows read without the images of their rows."""
    alone = replace(source, actions_alone=True)
    tell(str(alone))
    reader = dataset.reader
    reader._query_hf_dataset = query_of_numbers(reader, dataset.meta.camera_keys)
    sizes = dict.fromkeys(load.batch_size for load in request.loads)
    loads = [Load(batch_size=size, workers=0) for size in sizes]
    return [_measure(dataset, request, alone, load, loads_itself=True) for load in loads]


def _measure(
    dataset: Any, request: SourceRequest, source: Source, load: Load, *, loads_itself: bool
) -> LoaderRow:
    row = row_of(source, load)
    config = make_config(request, load)
    loader = make_loader(dataset, config)
    if row.workers == 0 and row.cache == WARM:
        indices = list(islice(loader.sampler, _STAGE_SAMPLES))
        half = request.seconds / 2
        parts, frames = time_stages(dataset, indices, loader.collate_fn, seconds=half, batch=row.batch_size)
        row = replace(row, stages=parts, frames_decoded=frames)
        taken = row.batch_size * sum(parts.values())
        if taken > _PATIENCE * request.seconds:
            return replace(row, batch_seconds=Spread.of([taken]))
    before = partial(drop_cached, dataset_files(dataset) if row.cache == COLD else [])
    kept = before()
    batches = iter(loader)
    spread, counted, processor = time_batches(batches, row.workers, request.seconds, before=before)
    if row.cache == WARM and not source.actions_alone:
        loading = loading_of(config, dataset, loads_itself=loads_itself)
        row = _with_memory(row, batches, loading, spread.median)
    del batches, loader
    gc.collect()  # ends the workers
    alone = row.workers == 0
    return replace(
        row, batch_seconds=spread, batches=counted, cached_share=kept,
        cpu_seconds=processor / row.batch_size if alone else None,
    )  # fmt: skip


def _with_memory(row: LoaderRow, batches: Iterator[Any], loading: Loading, batch_seconds: float) -> LoaderRow:
    """Return the row with what its processes hold at rest, and what the formula says of that."""
    quiet = max(_LEAST_QUIET, 2 * row.workers * batch_seconds)
    ahead = row.workers * loading.prefetch_factor * batch_seconds
    found = own_memory(batches, quiet=quiet, seconds=min(3 * ahead, _LONGEST_WAIT) + quiet)
    libraries = [name for name in LIBRARIES if package_version(name) != UNKNOWN]
    return replace(row, memory=found, predicted_memory=host_memory(loading, libraries))


def time_batches(
    batches: Iterator[Any],
    workers: int,
    seconds: float,
    *,
    before: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Spread, int, float]:
    """Return seconds from batch to batch, how many were timed, and processor seconds of a batch.

    Workers hand out their batches in turn, in bursts; so a round of one batch from each is timed as one. The
    first rounds, in which workers start and fill their queues, are left out.

    Args:
        batches: an endless loader.
        workers: that it has.
        seconds: to time for; at least three rounds are, unless that takes four times as long.
        before: called before each round, not timed.
        clock: seconds.
    """
    size = max(workers, 1)
    for _ in range(2 * size if workers else 1):
        next(batches)
    rounds: list[float] = []
    processor = 0.0
    while sum(rounds) < seconds or (len(rounds) < _LEAST_ROUNDS and sum(rounds) < _PATIENCE * seconds):
        if before is not None:
            before()
        start, used = clock(), time.process_time()
        for _ in range(size):
            next(batches)
        rounds.append(clock() - start)
        processor += time.process_time() - used
    return Spread.of([taken / size for taken in rounds]), len(rounds) * size, processor / len(rounds) / size


def _say(load: Load) -> str:
    workers = "1 worker" if load.workers == 1 else f"{load.workers} workers"
    return f"batch {load.batch_size}, {workers}" + (", cold" if load.cache == COLD else "")


def _settings(config: Any) -> tuple[str, ...]:
    return (
        f"prefetch_factor={config.prefetch_factor}",
        f"persistent_workers={config.persistent_workers}",
        f"workers started by {start_method(config) or get_start_method()}",
        "return_uint8=True",
        "shuffled by EpisodeAwareSampler",
    )
