"""Record what ops allocate inside: temporaries of random reductions, every event of all other ops.

    python benchmarks/gpu/probe_ops.py FOLDER [--seconds 60] [--seed 1] [--dry-run]

Writes ops.json.gz, rows of [op, dtype, shapes, [shape, dtype] of each output, events], and
reductions.json.gz, rows of [op, dtype, shape, strides, dims (empty: all), bytes of each temporary]. The
reductions fill what the seconds leave; 1,800 with temporaries and 1,200 without are kept.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import click
import torch
from _common import DTYPES, history, marked, split_events, temporaries, tensors_of, write_json_gz
from _data_ops import data_ops
from _layer_ops import Op, layer_ops

_KEPT, _KEPT_WITHOUT = 1800, 1200
_MOST_REDUCTIONS = 50_000
_NOT_OF_ONE = ("any", "var", "std", "var_mean")
_MOST_LOG2 = 24.5  # elements of the largest tensor


@dataclass(frozen=True, slots=True)
class Kind:
    """A reduction: over any dims (`some`), over one (`one`) or over all of them (`all`)."""

    reduce: Callable[[torch.Tensor, Any, bool], Any]
    dtypes: tuple[str, ...]
    over: str = "some"
    weight: int = 1


def _norm(order: float) -> Callable[[torch.Tensor, Any, bool], torch.Tensor]:
    return lambda x, dims, keep: torch.linalg.vector_norm(x, order, dims, keepdim=keep)


KINDS: dict[str, Kind] = {
    "sum": Kind(lambda x, d, k: torch.sum(x, d, keepdim=k), ("f32", "bf16", "f16", "i64", "b"), weight=10),
    "mean": Kind(lambda x, d, k: torch.mean(x, d, keepdim=k), ("f32", "bf16", "f16"), weight=5),
    "var": Kind(lambda x, d, k: torch.var(x, d, keepdim=k), ("f32", "bf16"), weight=3),
    "std": Kind(lambda x, d, k: torch.std(x, d, keepdim=k), ("f32",)),
    "var_mean": Kind(lambda x, d, k: torch.var_mean(x, d, keepdim=k), ("f32", "f16")),
    "norm2": Kind(_norm(2), ("f32", "bf16"), weight=3),
    "norm1": Kind(_norm(1), ("f32",)),
    "norminf": Kind(_norm(float("inf")), ("f32",)),
    "amax": Kind(lambda x, d, k: torch.amax(x, d, keepdim=k), ("f32", "bf16", "i64"), weight=2),
    "amin": Kind(lambda x, d, k: torch.amin(x, d, keepdim=k), ("f32",)),
    "any": Kind(lambda x, d, k: torch.any(x, d, keepdim=k), ("b", "f32"), weight=3),
    "all": Kind(lambda x, d, k: torch.all(x, d, keepdim=k), ("b",)),
    "prod": Kind(lambda x, d, k: torch.prod(x, d[0], keepdim=k), ("f32",), "one"),
    "argmax": Kind(lambda x, d, k: torch.argmax(x, d[0], keepdim=k), ("f32",), "one"),
    "max": Kind(lambda x, d, k: torch.max(x, d[0], keepdim=k), ("f32", "i64"), "one"),
    "min": Kind(lambda x, d, k: torch.min(x, d[0], keepdim=k), ("f32",), "one"),
    "sumall": Kind(lambda x, _d, _k: torch.sum(x), ("f32", "bf16", "i64", "b"), "all", weight=3),
    "meanall": Kind(lambda x, _d, _k: torch.mean(x), ("f32", "bf16", "f16"), "all", weight=3),
    "norm2all": Kind(lambda x, _d, _k: torch.linalg.vector_norm(x), ("f32", "bf16"), "all"),
}


# -- random reductions --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reduction:
    """One that was drawn: `layout` is `dense`, `permuted`, `sliced` or `expanded`, by the numbers `by`."""

    op: str
    dtype: str
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    keepdim: bool
    layout: str
    by: tuple[int, ...] = ()


def draw(source: random.Random, *, most_log2: float = _MOST_LOG2) -> Iterator[Reduction]:
    """Yield reductions without end, the same for equal seeds; all but trivial ones."""
    weights = [kind.weight for kind in KINDS.values()]
    while True:
        (name,) = source.choices(list(KINDS), weights)
        kind, shape = KINDS[name], _shape(source, most_log2)
        dtype = source.choice(kind.dtypes)
        some = tuple(source.sample(range(len(shape)), source.randint(1, len(shape))))
        dims = {"some": some, "one": some[:1], "all": ()}[kind.over]
        flags = dtype == "b" and name.startswith(
            "sum"
        )  # made integers first: only dense ones are of interest
        layout, by = _layout(source, len(shape), dense=flags)
        if name in _NOT_OF_ONE and prod(shape[dim] for dim in dims) == 1:
            continue  # nothing is reduced, or nothing varies
        yield Reduction(name, dtype, shape, dims, source.random() < 0.3, layout, by)


def _shape(source: random.Random, most_log2: float) -> tuple[int, ...]:
    count = source.choice([1, 2, 2, 2, 3, 3, 4, 4, 5])
    log2 = source.uniform(6, most_log2)
    shares = [source.random() ** 1.5 + 0.02 for _ in range(count)]
    shape = [max(1, int(2 ** (log2 * share / sum(shares)))) for share in shares]
    if source.random() < 0.5:
        shape = [size // 8 * 8 if size > 16 else size for size in shape]
    if source.random() < 0.2:
        shape[source.randrange(count)] = 1
    return tuple(shape)


def _layout(source: random.Random, count: int, *, dense: bool) -> tuple[str, tuple[int, ...]]:
    chance = source.random()
    if chance < 0.55 or count < 2:
        return "dense", ()
    if chance < 0.8 or dense:
        return "permuted", tuple(source.sample(range(count), count))
    return "sliced" if chance < 0.9 else "expanded", (source.randrange(count),)


def tensor_of(drawn: Reduction, device: str) -> torch.Tensor:
    """Return a tensor of the drawn shape, dtype and layout."""
    shape = list(drawn.shape)
    if drawn.layout == "dense":
        return make(shape, drawn.dtype, device)
    if drawn.layout == "permuted":
        inverse = sorted(range(len(shape)), key=drawn.by.__getitem__)
        return make([shape[dim] for dim in drawn.by], drawn.dtype, device).permute(inverse)
    (dim,) = drawn.by
    if drawn.layout == "sliced":
        wider = [*shape[:dim], 2 * shape[dim] + 1, *shape[dim + 1 :]]
        return make(wider, drawn.dtype, device).narrow(dim, 1, shape[dim])
    return make([*shape[:dim], 1, *shape[dim + 1 :]], drawn.dtype, device).expand(shape)


def make(shape: Sequence[int], dtype: str, device: str) -> torch.Tensor:
    """Return random values."""
    if dtype == "i64":
        return torch.randint(0, 5, tuple(shape), device=device)
    values = torch.randn(tuple(shape), device=device)
    return values > 0 if dtype == "b" else values.to(DTYPES[dtype])


def reduce(drawn: Reduction, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return what the reduction gives."""
    return tensors_of(KINDS[drawn.op].reduce(x, list(drawn.dims), drawn.keepdim))


def take_reductions(seed: int, deadline: float) -> dict[str, Any]:
    """Return the content of reductions.json.gz."""
    drawn = draw(random.Random(seed))  # noqa: S311 - shapes, no secrets
    done: list[tuple[list[Any], list[torch.Tensor]]] = []
    with history() as trace:
        while len(done) < _MOST_REDUCTIONS and time.monotonic() < deadline:
            one = next(drawn)
            x = tensor_of(one, "cuda")
            with marked():
                results = reduce(one, x)
            row = [one.op, one.dtype, one.shape, x.stride(), one.dims]
            done.append((row, [result.to("meta") for result in results]))
            del x, results
    pairs = zip(done, split_events(trace), strict=True)
    rows = [[*row, temporaries(events, results)] for (row, results), events in pairs]
    kept = [row for row in rows if row[-1]][:_KEPT] + [row for row in rows if not row[-1]][:_KEPT_WITHOUT]
    what = (
        "temporaries of reductions: [op, dtype, shape, strides, dims (empty: all), bytes of each temporary]"
    )
    return {"what": what, **machine(), "rows": kept}


# -- ops ----------------------------------------------------------------------------------------------------


def cases() -> list[tuple[Op, str]]:
    """Return each op with each of its dtypes, in the order in which they are taken."""
    return [(op, dtype) for op in (*layer_ops(), *data_ops()) for dtype in op.dtypes]


def inputs_of(op: Op, dtype: str, device: str) -> list[torch.Tensor]:
    """Return random tensors of an op's shapes."""
    return [make(shape, dtype, device) for shape in op.shapes]


def run(op: Op, dtype: str) -> list[Any] | None:
    """Run an op on the GPU and return its row, without events; None where the GPU refuses it.

    It runs twice: the first run takes what a process takes once, and only the second is marked. Nothing is
    marked where the first one fails.
    """
    try:
        op.program(*inputs_of(op, dtype, "cuda"))
    except (RuntimeError, NotImplementedError) as error:
        print(f"{op.name} in {dtype}: {str(error).splitlines()[0]}")
        return None
    inputs = inputs_of(op, dtype, "cuda")
    with marked():
        result = op.program(*inputs)
    outputs = [[list(tensor.shape), str(tensor.dtype)] for tensor in tensors_of(result)]
    return [op.name, dtype, op.shapes, outputs]


def take_ops() -> dict[str, Any]:
    """Return the content of ops.json.gz; an op that this GPU refuses is named and left out."""
    with history() as trace:
        done = [row for op, dtype in cases() if (row := run(op, dtype))]
    rows = [[*row, events] for row, events in zip(done, split_events(trace), strict=True)]
    what = "allocations (positive) and frees (negative) of one op each, in order, outputs included"
    return {"what": what, **machine(), "rows": rows}


def machine() -> dict[str, str]:
    """Return what the numbers depend on."""
    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", default=60.0, show_default=True, help="For all of it.")
@click.option("--seed", default=1, show_default=True, help="Of what is drawn.")
@click.option("--dry-run", is_flag=True, help="Say how many cases there are.")
def main(*, folder: Path, seconds: float, seed: int, dry_run: bool) -> None:
    """Record ops and reductions into FOLDER."""
    deadline = time.monotonic() + seconds
    print(f"{len(cases())} ops, at most {_MOST_REDUCTIONS} reductions of {len(KINDS)} kinds")
    if dry_run:
        return
    torch.manual_seed(seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    write_json_gz(folder / "ops.json.gz", take_ops())
    write_json_gz(folder / "reductions.json.gz", take_reductions(seed, deadline))


if __name__ == "__main__":
    main()
