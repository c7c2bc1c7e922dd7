"""Record which plan PyTorch's `cudnn.benchmark` chooses for a convolution, over and over.

    python benchmarks/gpu/probe_benchmark.py FOLDER [--seconds 60] [--dry-run]

Each run is a thread of its own, because a thread has its own cache of plans: its first call tries all plans
and empties PyTorch's cache, its second shows the one that was chosen. Writes benchmark-choices.json.gz: rows
of [[kind, image, weight, stride, padding, dtype], events of the first call, events of the second].
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import torch
from _common import Events, described, each_batch, history, marked, resnet18, split_events, write_json_gz

from actprof.cudnn.problem import Convolution

ROUNDS = 9  # the first stops at every problem once, the others tell how steady the choice is


def problems() -> list[Convolution]:
    """Return the convolutions of one round."""
    return [
        *each_batch(resnet18, (8, 32, 64), (480, 640), (224, 224), (240, 320)),
        *resnet18(32, 480, 640, dtype="bfloat16"),
        *resnet18(64, 224, 224, dtype="bfloat16"),
        *resnet18(32, 480, 640, dtype="float16"),
    ]


def call_of(problem: Convolution) -> Callable[[], Any]:
    """Return what calls PyTorch's convolution, or one of its gradients, on tensors made now."""

    def make(dims: Iterable[int]) -> torch.Tensor:
        return torch.randn(tuple(dims), device="cuda").to(getattr(torch, problem.dtype))

    image, weight = make(problem.image), make(problem.weight)
    none = [0] * len(problem.stride)
    geometry = (list(problem.stride), list(problem.padding), list(problem.dilation), False, none, 1)
    if problem.kind == "forward":
        return lambda: torch.ops.aten.convolution(image, weight, None, *geometry)
    output = make(problem.output)
    wanted = [problem.kind == "image", problem.kind == "weight", False]
    return lambda: torch.ops.aten.convolution_backward(output, image, weight, [0], *geometry, wanted)


def run_twice(problem: Convolution, failed: list[Exception]) -> None:
    """Make two marked calls; an error is told and ends neither the thread's caller nor the markers."""
    try:
        call = call_of(problem)
    except RuntimeError as error:
        failed.append(error)
        call = None
    for _ in range(2):
        with marked():
            try:
                kept = call() if call else None
            except RuntimeError as error:
                failed.append(error)
                kept = None
        del kept


def in_new_thread(problem: Convolution) -> list[Exception]:
    """Run a problem where no plan is known, and return what went wrong."""
    failed: list[Exception] = []
    thread = threading.Thread(target=run_twice, args=(problem, failed))
    thread.start()
    thread.join()
    torch.cuda.synchronize()
    return failed


def named(problem: Convolution) -> list[Any]:
    """Return the columns that name a problem in this file: stride and padding as one number."""
    known = described(problem)
    kind, image, weight = (known[name] for name in ("kind", "x", "w"))
    return [kind, image, weight, problem.stride[0], problem.padding[0], problem.dtype]


def rows_of(done: list[tuple[Convolution, list[Exception]]], cases: list[Events]) -> list[list[Any]]:
    """Return the rows of the runs that went well; each has two cases.

    Raises:
        ValueError: there are not as many cases.
    """
    pairs = zip(done, cases[::2], cases[1::2], strict=True)
    return [[named(problem), first, second] for (problem, failed), first, second in pairs if not failed]


def take(seconds: float) -> list[list[Any]]:
    """Return as many rows as the seconds allow, at most `ROUNDS` for each problem."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    deadline = time.monotonic() + seconds
    done = []
    with history() as trace:
        for problem in ROUNDS * problems():
            if time.monotonic() > deadline:
                break
            done.append((problem, in_new_thread(problem)))
    for problem, failed in done:
        if failed:
            print(named(problem), failed[0])
    return rows_of(done, split_events(trace, also=("segment_free", "oom")))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--dry-run", is_flag=True, help="Say how many problems there are.")
def main(*, folder: Path, seconds: float, dry_run: bool) -> None:
    """Record choices into FOLDER."""
    print(f"{len(problems())} problems, at most {ROUNDS} times each")
    if not dry_run:
        write_json_gz(folder / "benchmark-choices.json.gz", take(seconds))


if __name__ == "__main__":
    main()
