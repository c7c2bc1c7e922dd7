"""The plans of a convolution, kept: in this process, and on disk for the next.

An answer costs about a millisecond for every few plans, so no more of them are asked for than somebody wants.
Where no cuDNN answers, a closed form stands in, and `answers` says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from itertools import chain, islice
from math import prod
from pathlib import Path

from actprof.cudnn.ask import CUDA_CORES, TENSOR_CORES, Plan, ask_plans
from actprof.cudnn.left_out import plans_left_out
from actprof.cudnn.library import CudnnError, installed_version
from actprof.cudnn.problem import Architecture, Convolution, Dims
from actprof.cudnn.split_sums import with_split_sums
from actprof.files import cache_folder
from actprof.units import ceil_div

_log = logging.getLogger(__name__)
_TABLE = "CREATE TABLE IF NOT EXISTS plans (key TEXT PRIMARY KEY, complete INTEGER, plans TEXT NOT NULL)"
_SCHEMA = 9
STAND_IN = -1  # engine of what stands in for cuDNN's first plan
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_GRANULE_BYTES = 16
_TENSOR_CORES_FOR_FLOAT32 = (8, 0)


@dataclass(slots=True)
class _Known:
    """The first plans of a problem, in cuDNN's order, and whether that is all of them."""

    plans: list[Plan] = field(default_factory=list)
    complete: bool = False


def plans_for(
    problem: Convolution, architecture: Architecture, *, most: int | None = None, deterministic: bool = False
) -> tuple[Plan, ...]:
    """Return the first plans that PyTorch would consider, in cuDNN's order.

    Args:
        problem: the convolution.
        architecture: of the GPU that would solve it.
        most: how many at most; None for all.
        deterministic: leave out those that give other bits each time.
    """
    known = _known(problem, architecture)
    found = _chosen(known, most, deterministic=deterministic)
    if not known.complete and (most is None or len(found) < most):
        _learn(known, problem, architecture, most, deterministic=deterministic)
        found = _chosen(known, most, deterministic=deterministic)
    return found


def answers(architecture: Architecture) -> str:
    """Return why cuDNN does not answer for a GPU, or nothing when it does."""
    if plans_for(_SIMPLE, architecture, most=1)[0].engine != STAND_IN:
        return ""
    try:
        next(ask_plans(_SIMPLE, architecture), None)
    except CudnnError as error:
        return str(error)
    return ""


_SIMPLE = Convolution(
    kind="forward",
    dtype="float32",
    image=(1, 4, 8, 8),
    weight=(4, 4, 1, 1),
    output=(1, 4, 8, 8),
    image_strides=(256, 64, 8, 1),
    weight_strides=(4, 1, 1, 1),
    output_strides=(256, 64, 8, 1),
    padding=(0, 0),
    stride=(1, 1),
    dilation=(1, 1),
)


# A B200: of which of 10.0 and later cards a process asks first decides what cuDNN says of all of them later.
_BLACKWELL = Architecture(
    compute_capability=(10, 0),
    multiprocessors=148,
    threads_per_multiprocessor=2048,
    clock_khz=1_965_000,
    memory_clock_khz=2_619_000,
)


@cache
def _settle() -> None:
    """Ask of one such card before all others, so that answers are the same in every process."""
    next(ask_plans(_SIMPLE, _BLACKWELL), None)


def _chosen(known: _Known, most: int | None, *, deterministic: bool) -> tuple[Plan, ...]:
    fitting = (plan for plan in known.plans if plan.deterministic or not deterministic)
    return tuple(islice(fitting, most))


def _learn(
    known: _Known, problem: Convolution, architecture: Architecture, most: int | None, *, deterministic: bool
) -> None:
    """Ask until `most` plans fit, from the start: cuDNN's answer cannot be taken up again in the middle."""
    known.plans.clear()
    fitting = 0
    try:
        if architecture.compute_capability >= _BLACKWELL.compute_capability:
            _settle()
        for plan in chain(plans_left_out(problem, architecture), ask_plans(problem, architecture)):
            known.plans.append(with_split_sums(plan, problem, architecture))
            fitting += plan.deterministic or not deterministic
            if fitting == most:
                break
        else:
            known.complete = True
    except CudnnError:
        known.plans[:] = [closed_form(problem, architecture)]
        known.complete = True
        return
    _write(_key(problem, architecture), known)


@cache
def _known(problem: Convolution, architecture: Architecture) -> _Known:
    known = _Known()
    with suppress(CudnnError, sqlite3.Error, OSError, ValueError, TypeError):
        row = (
            _database(cache_folder() / "cudnn", os.getpid())
            .execute("SELECT complete, plans FROM plans WHERE key = ?", (_key(problem, architecture),))
            .fetchone()
        )
        if row is not None:
            known.plans = [
                Plan(engine, size, bool(same), tuple((kind, value) for kind, value in knobs), arithmetic)
                for engine, size, same, knobs, arithmetic in json.loads(row[1])
            ]
            known.complete = bool(row[0])
    return known


def _write(key: str, known: _Known) -> None:
    """Keep what is known for the next process; a cache that cannot be written is none."""
    rows = [[p.engine, p.workspace_bytes, p.deterministic, p.knobs, p.arithmetic] for p in known.plans]
    try:
        _database(cache_folder() / "cudnn", os.getpid()).execute(
            "INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", (key, known.complete, json.dumps(rows))
        )
    except (sqlite3.Error, OSError) as error:
        _log.debug("cuDNN's plans are not kept: %s", error)


@lru_cache(maxsize=4)
def _database(folder: Path, _process: int) -> sqlite3.Connection:
    """Return the cache's file, open for this process; what a crash loses is asked again."""
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(
        folder / "plans.sqlite", timeout=5, isolation_level=None, check_same_thread=False
    )
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(_TABLE)
    return database


def _key(problem: Convolution, architecture: Architecture) -> str:
    parts = [_SCHEMA, installed_version(), architecture.as_json(), asdict(problem)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def closed_form(problem: Convolution, architecture: Architecture) -> Plan:
    """Return the plan that is likely to be the first, where no cuDNN can be asked; its engine is `STAND_IN`.

    Tensor cores want channels last. A problem with channels first gets copies of all three tensors in that
    layout, channels filled up to 16 bytes: the common case of the plans that cuDNN 9.19 lists first from 8.0
    on. Limits: plans that split their sum over blocks take some MiB more; cuDNN often lists first a plan that
    takes fewer copies or none; cards before 8.0 have no tensor cores for float32 and mostly take nothing.
    """
    channels_last = problem.image_strides[1] == 1 and problem.image[1] > 1
    cores = problem.dtype != "float32" or architecture.compute_capability >= _TENSOR_CORES_FOR_FLOAT32
    if channels_last or not cores:
        return Plan(STAND_IN, 0, deterministic=True, arithmetic=TENSOR_CORES if cores else CUDA_CORES)
    size = _BYTES[problem.dtype]
    granule = _GRANULE_BYTES // size
    elements = sum(_filled(dims, granule) for dims in (problem.image, problem.weight, problem.output))
    return Plan(STAND_IN, elements * size + _GRANULE_BYTES, deterministic=True)


def _filled(dims: Dims, granule: int) -> int:
    """Return the elements of a tensor whose channels are filled up to a multiple of `granule`."""
    batch, channels, *spatial = dims
    return batch * ceil_div(channels, granule) * granule * prod(spatial)
