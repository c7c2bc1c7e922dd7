"""What answers without cuDNN are worth: predictions of ACT on six cards, with and without plans to ask for.

    python benchmarks/without_cudnn.py

One camera of 640x480 and of 224x224, batch sizes 8 and 64, `cudnn.benchmark` on and off.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import product
from multiprocessing import get_context
from unittest import mock

from actprof.cell import Cell
from actprof.cudnn import CudnnError, ask, plans
from actprof.prediction.predict import predict_cell
from actprof.results import Result

CARDS = ("RTX 3090", "RTX 4090", "A100 80 GB", "H100", "RTX 5090", "T4")


def main() -> None:
    """Print how far the two differ."""
    cells = [
        Cell(cameras=1, resolution=resolution, batch_size=size, gpu=card, cudnn_benchmark=benchmark)
        for card, resolution, size, benchmark in product(
            CARDS, ("640x480", "224x224"), (8, 64), (True, False)
        )
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:  # nothing cached in common
        exact, estimated = processes.map(_answers, (cells, cells), (True, False))
    pairs = list(zip(exact, estimated, strict=True))
    _print("allocated", [_ratio(a.peak_allocated_bytes, b.peak_allocated_bytes) for a, b in pairs])
    _print("reserved", [_ratio(a.peak_reserved_bytes, b.peak_reserved_bytes) for a, b in pairs])
    _print("largest batch", [_ratio(a.max_batch_size, b.max_batch_size) for a, b in pairs])
    same = sum(a.verdict == b.verdict for a, b in pairs)
    print(f"the verdict is the same in {same} of {len(pairs)}")


def _answers(cells: list[Cell], can_ask: bool) -> list[Result]:  # noqa: FBT001 - `map` gives no names
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(mock.patch.dict(os.environ, {"ACTPROF_CACHE_DIR": folder}))
        if not can_ask:
            stack.enter_context(mock.patch.object(plans, "ask_plans", _refuse))
        return [predict_cell(cell) for cell in cells]


def _refuse(*_problem: object) -> ask.Iterator[ask.Plan]:
    raise CudnnError("there is none")
    yield


def _ratio(exact: int | None, estimated: int | None) -> float:
    return (estimated or 0) / (exact or 1) - 1


def _print(name: str, off: list[float]) -> None:
    sizes = [abs(one) for one in off]
    print(f"{name:14}{statistics.median(sizes):7.2%} off in the median, {max(sizes):.1%} at worst")


if __name__ == "__main__":
    main()
