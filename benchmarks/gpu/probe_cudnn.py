"""Take cuDNN's plans of many convolutions with the GPU of this machine, and the seconds of the first of them.

    python benchmarks/gpu/probe_cudnn.py FOLDER [--seconds 100] [--processes 6] [--dry-run]

Writes plan-times.json.gz (alone on the GPU, first) and cudnn-plans.json.gz (in several processes: only
heuristics are asked). The descriptors are those of `actprof.cudnn`, but graph and plans belong to a handle,
as PyTorch's do, in place of a description of the device. Problems that the seconds leave no time for are
missing at the end of the list.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from enum import IntEnum
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import torch
from _common import convolutions, described, each_batch, resnet18, write_json_gz

from actprof.cudnn import ask
from actprof.cudnn.library import Attribute, CudnnError, Descriptor, Kind, Type, library
from actprof.cudnn.problem import Convolution

_DEVICE_ID, _INT32 = 2700, 23
_PLAN_HANDLE, _GRAPH_HANDLE = 400, 800
_UIDS, _DATA, _WORKSPACE = 1000, 1001, 1003  # of a variant pack
_KNOBS = (2, 13, 18, 25, 27, 28)  # tile, step of K, 18, whether sums are split, cluster in M and in N
_MOST_TIMED = 14  # PyTorch's benchmark tries ten, but not those that convert float32 down
_RUNS = 9
_MOST_WORKSPACE = 6 << 30


class _Kind(IntEnum):
    """`cudnnBackendDescriptorType_t` of what runs a plan."""

    VARIANT_PACK = 16


class _Pointer(IntEnum):
    """`cudnnBackendAttributeType_t` of addresses; `actprof.cudnn` needs neither this nor that."""

    HANDLE = 0
    VOID = 6


# -- the problems -------------------------------------------------------------------------------------------


def problems() -> list[Convolution]:
    """Return the convolutions whose plans are asked for: of ResNets, patches, a one-dimensional U-Net."""
    return [
        *each_batch(resnet18, (2, 4, 8, 16, 24, 32, 48, 57, 64), (480, 640), (224, 224)),
        *each_batch(resnet18, (8, 16, 64), (240, 320), (96, 96), (360, 640)),
        *each_batch(resnet18, (8, 32), (480, 640), (224, 224), dtype="bfloat16"),
        *each_batch(resnet18, (8, 32), (480, 640), (224, 224), dtype="float16"),
        *resnet18(32, 480, 640, last=True),
        *resnet18(32, 480, 640, dtype="bfloat16", last=True),
        *(problem for batch in (8, 64) for problem in (*_patches(batch), *_unet(batch))),
    ]


def _patches(batch: int) -> Iterator[Convolution]:
    for dtype in ("float32", "bfloat16"):
        yield from convolutions((batch, 3, 512, 512), (768, 3, 16, 16), 16, dtype=dtype)
    yield from convolutions((batch, 3, 224, 224), (1152, 3, 14, 14), 14, dtype="bfloat16")


def _unet(batch: int) -> Iterator[Convolution]:
    """Yield those of a diffusion policy's U-Net, as PyTorch hands them on: of height 1."""
    rows = (
        (2, 512, 16, 5), (512, 512, 16, 5), (512, 1024, 8, 5), (1024, 1024, 8, 5), (1024, 2048, 4, 5),
        (2048, 2048, 4, 5), (4096, 1024, 4, 5),
    )  # fmt: skip
    for channels_in, channels_out, length, kernel in rows:
        image, weight = (batch, channels_in, 1, length), (channels_out, channels_in, 1, kernel)
        yield from convolutions(image, weight, 1, kernel // 2)
    yield from convolutions((batch, 512, 1, 16), (512, 512, 1, 3), 2, 1)
    yield from convolutions((batch, 2048, 1, 4), (1024, 2048, 1, 1))


def timed_problems() -> list[Convolution]:
    """Return those whose plans are timed."""
    sizes = ((480, 640), (224, 224), (240, 320))
    low = [
        problem
        for dtype in ("bfloat16", "float16")
        for make in ((32, 480, 640), (64, 224, 224))
        for problem in resnet18(*make, dtype=dtype)
    ]
    return [*each_batch(resnet18, (8, 32, 64), *sizes), *low]


# -- plans of a handle --------------------------------------------------------------------------------------


@cache
def handle() -> int:
    """Return this process's cuDNN handle for the GPU.

    Raises:
        CudnnError: cuDNN finds none.
    """
    torch.zeros(1, device="cuda")
    made = ctypes.c_void_p()
    if status := library().cudnnCreate(ctypes.byref(made)):
        raise CudnnError(f"cuDNN answers {status} when asked for a handle")
    return int(made.value or 0)


def set_pointers(descriptor: Descriptor, name: int, kind: _Pointer, *values: int) -> Descriptor:
    """Set an attribute that is one or more addresses."""
    array = (ctypes.c_void_p * len(values))(*values)
    pointer, count = ctypes.cast(array, ctypes.c_void_p), ctypes.c_int64(len(values))
    descriptor._check(
        library().cudnnBackendSetAttribute(descriptor._pointer, name, int(kind), count, pointer)
    )
    return descriptor


def device_properties() -> dict[str, Any]:
    """Return what cuDNN itself says of the GPU, the text that describes it elsewhere."""
    handle()
    device = Descriptor(Kind.DEVICE).set(_DEVICE_ID, _INT32, 0).finalize()
    size = ctypes.c_int64()
    asked = (device._pointer, int(Attribute.DEVICE_JSON), int(Type.CHAR))
    library().cudnnBackendGetAttribute(*asked, ctypes.c_int64(0), ctypes.byref(size), None)
    text = ctypes.create_string_buffer(size.value + 1)
    device._check(library().cudnnBackendGetAttribute(*asked, size, ctypes.byref(size), text))
    return json.loads(text.value)


def operation_of(problem: Convolution) -> Descriptor:
    """Return the operation in the graph that `actprof.cudnn` makes of a problem."""
    (operation,) = ask._graph(problem)._kept
    return operation


def configs(problem: Convolution) -> Iterator[tuple[int, Descriptor]]:
    """Yield the heuristic's mode and the engine's configuration, in the order PyTorch asks.

    There are none of a problem that cuDNN does not take.
    """
    owner = handle()
    try:
        graph = Descriptor(Kind.GRAPH)
        graph.set(Attribute.GRAPH_OPERATIONS, Type.DESCRIPTOR, operation_of(problem))
        set_pointers(graph, _GRAPH_HANDLE, _Pointer.HANDLE, owner).finalize()
    except CudnnError as error:
        print(f"{described(problem)}: {error}", flush=True)
        return
    for mode in (ask._INSTANT, ask._FALLBACK):
        heuristic = Descriptor(Kind.HEURISTIC).set(Attribute.HEURISTIC_GRAPH, Type.DESCRIPTOR, graph)
        heuristic.set(Attribute.HEURISTIC_MODE, Type.HEURISTIC_MODE, mode)
        with suppress(CudnnError):  # this mode has nothing for the problem
            heuristic.finalize()
            for config in heuristic.descriptors(Attribute.HEURISTIC_RESULTS, Kind.ENGINE_CONFIG):
                yield mode, config


def facts_of(config: Descriptor) -> tuple[int, list[int], dict[int, int]]:
    """Return the engine's number, its notes, and the knobs that workspaces depend on."""
    engine = config.descriptors(Attribute.CONFIG_ENGINE, Kind.ENGINE, 1)[0]
    choices = config.descriptors(Attribute.CONFIG_KNOB_CHOICES, Kind.KNOB_CHOICE, ask._MOST_KNOBS)
    knobs = {kind: value for kind, value in map(ask._knob, choices) if kind in _KNOBS}
    number = engine.numbers(Attribute.ENGINE_INDEX, Type.INT64)[0]
    return number, engine.numbers(Attribute.ENGINE_NOTES, Type.NOTE, 16), knobs


def plan_of(config: Descriptor) -> tuple[Descriptor, int] | None:
    """Return a plan and its workspace; None where the engine refuses the problem when it comes to it."""
    plan = Descriptor(Kind.PLAN).set(Attribute.PLAN_CONFIG, Type.DESCRIPTOR, config)
    try:
        set_pointers(plan, _PLAN_HANDLE, _Pointer.HANDLE, handle()).finalize()
    except CudnnError:
        return None
    return plan, plan.numbers(Attribute.PLAN_WORKSPACE_BYTES, Type.INT64)[0]


def plans(problem: Convolution, *, deadline: float) -> dict[str, Any] | None:
    """Return a row of cudnn-plans.json.gz; None when there is no time left."""
    if time.time() > deadline:
        return None
    rows = []
    for mode, config in configs(problem):
        engine, notes, knobs = facts_of(config)
        plan = plan_of(config)
        rows.append([mode, engine, plan[1] if plan else None, notes, knobs])
    return {**described(problem), "plans": rows}


# -- times --------------------------------------------------------------------------------------------------


def times(problem: Convolution, workspace: torch.Tensor) -> dict[str, Any]:
    """Return a row of plan-times.json.gz."""
    dtype = getattr(torch, problem.dtype)
    tensors = [
        torch.randn(dims, device="cuda").to(dtype).as_strided(dims, strides)
        for dims, strides in (
            (problem.image, problem.image_strides),
            (problem.weight, problem.weight_strides),
            (problem.output, problem.output_strides),
        )
    ]
    pack = Descriptor(_Kind.VARIANT_PACK).set(_UIDS, Type.INT64, *map(ord, "xwy"))
    set_pointers(pack, _DATA, _Pointer.VOID, *(tensor.data_ptr() for tensor in tensors))
    set_pointers(pack, _WORKSPACE, _Pointer.VOID, workspace.data_ptr()).finalize()
    rows: list[list[float]] = []
    for _mode, config in configs(problem):
        plan = plan_of(config) if len(rows) < _MOST_TIMED else None
        if plan and plan[1] <= workspace.numel():
            with suppress(CudnnError):  # it refuses when it is run
                microseconds = statistics.median(_run(plan[0], pack) for _ in range(_RUNS))
                rows.append([facts_of(config)[0], plan[1], round(microseconds, 1)])
    known = described(problem)
    return {name: known[name] for name in ("kind", "x", "w", "stride", "pad", "dt")} | {"plans": rows}


def _run(plan: Descriptor, pack: Descriptor) -> float:
    """Run a plan and return microseconds."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    status = library().cudnnBackendExecute(ctypes.c_void_p(handle()), plan._pointer, pack._pointer)
    end.record()
    end.synchronize()
    plan._check(status)
    return 1e3 * start.elapsed_time(end)


# -- all of it ----------------------------------------------------------------------------------------------


def take_times(asked: Iterable[Convolution], seconds: float) -> dict[str, Any]:
    """Return the content of plan-times.json.gz."""
    deadline = time.time() + seconds
    workspace = torch.empty(_MOST_WORKSPACE, dtype=torch.uint8, device="cuda")
    rows = [times(problem, workspace) for problem in asked if time.time() < deadline]
    what = f"median microseconds of {_RUNS} runs: [engine, workspace bytes, microseconds]"
    return {"what": what, "rows": rows}


def take_plans(asked: list[Convolution], seconds: float, processes: int) -> dict[str, Any]:
    """Return the content of cudnn-plans.json.gz."""
    work = partial(plans, deadline=time.time() + seconds)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        rows = [row for row in pool.map(work, asked, chunksize=4) if row]
    return {
        "device": device_properties(),
        "cudnn": library().cudnnGetVersion(),
        "what": "plans with the device: [heuristic mode, engine, workspace bytes, notes, knobs], in order",
        "rows": rows,
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", default=100.0, show_default=True, help="For plans; times take four tenths of it.")
@click.option("--processes", default=6, show_default=True)
@click.option("--dry-run", is_flag=True, help="Say how many problems there are.")
def main(*, folder: Path, seconds: float, processes: int, dry_run: bool) -> None:
    """Take plans and their times into FOLDER."""
    print(f"{len(timed_problems())} problems to time, {len(problems())} to ask plans of")
    if dry_run:
        return
    write_json_gz(folder / "plan-times.json.gz", take_times(timed_problems(), 0.4 * seconds))
    write_json_gz(folder / "cudnn-plans.json.gz", take_plans(problems(), seconds, processes))


if __name__ == "__main__":
    main()
