"""What the probes share: the allocator's events between two markers, files, the convolutions of a ResNet-18.

Importing it touches no GPU. Sizes are bytes; in an event an allocation is positive and a free negative.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from actprof.cudnn.problem import Convolution, Dims, dense_strides
from actprof.measuring.nvml import device_handle, listed_processes, open_nvml

# Primes, so that no tensor with elements of 2, 4 or 8 bytes is as large; one for each end, so that a case
# that was lost, or a tensor of flags that happens to have the size, is an error and shifts no other case.
OPEN_BYTES, CLOSE_BYTES = 1_000_003, 1_000_033
_MOST_EVENTS = 5_000_000
_KINDS = {"forward": "fwd", "image": "dgrad", "weight": "wgrad"}
DTYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "b": torch.bool,
}
NAMES = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}

Events = list[int | str]
Trace = Iterable[Mapping[str, Any]]


# -- the allocator's history --------------------------------------------------------------------------------


@contextmanager
def history() -> Iterator[list[dict[str, Any]]]:
    """Record what the allocator does; the list has the events when the block is left."""
    torch.cuda.init()
    memory = torch.cuda.memory
    trace: list[dict[str, Any]] = []
    memory._record_memory_history(max_entries=_MOST_EVENTS, stacks="python", context=None)
    try:
        yield trace
        trace += memory._snapshot()["device_traces"][torch.cuda.current_device()]
    finally:
        memory._record_memory_history(None)


@contextmanager
def marked() -> Iterator[None]:
    """Mark what is allocated in the block as one case, also when it raises."""
    _mark(OPEN_BYTES)
    try:
        yield
    finally:
        _mark(CLOSE_BYTES)


def _mark(size: int) -> None:
    torch.empty(size, dtype=torch.uint8, device="cuda")


def split_events(trace: Trace, *, also: tuple[str, ...] = ()) -> list[Events]:
    """Return the events of each case, in order; what happened between cases is left out.

    Args:
        trace: one device's of a memory snapshot, from the first event on.
        also: actions of which the name is kept, beside allocations and completed frees.

    Raises:
        ValueError: the markers do not alternate.
    """
    cases: list[Events] = []
    inside = False
    for event in trace:
        action, size = event["action"], event["size"]
        if size in (OPEN_BYTES, CLOSE_BYTES):
            if action == "alloc":
                inside = _turn(size, inside=inside, after=len(cases))
                cases += [[]] if inside else []
        elif inside and action in ("alloc", "free_completed"):
            cases[-1].append(size if action == "alloc" else -size)
        elif inside and action in also:
            cases[-1].append(action)
    if inside:
        raise ValueError(f"the events end inside case {len(cases)}")
    return cases


def _turn(size: int, *, inside: bool, after: int) -> bool:
    opens = size == OPEN_BYTES
    if opens == inside:
        raise ValueError(f"two markers of one kind after case {after}: events were lost, or one is no marker")
    return opens


def process_bytes() -> int | None:
    """Return what NVML says that this process takes of the first visible GPU; None where it does not say."""
    with open_nvml() as nvml:
        if nvml is None:
            return None
        handle = device_handle(nvml, f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        return listed_processes(nvml, handle).get(os.getpid())


def tensors_of(result: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors of what an op returned, one level deep."""
    parts = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(part for part in parts if isinstance(part, torch.Tensor))


def temporaries(events: Iterable[int | str], results: Iterable[torch.Tensor]) -> list[int]:
    """Return the allocations that are none of the results, in order."""
    sizes = [event for event in events if isinstance(event, int) and event > 0]
    for size in (result.numel() * result.element_size() for result in results):
        if size in sizes:
            sizes.remove(size)
    return sizes


# -- files --------------------------------------------------------------------------------------------------


def write_json_gz(path: Path, content: Any) -> None:
    """Write compact JSON; equal content gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(json.dumps(content, separators=(",", ":")).encode())


# -- convolutions -------------------------------------------------------------------------------------------


def convolutions(
    image: Dims,
    weight: Dims,
    stride: int = 1,
    padding: int = 0,
    *,
    dtype: str = "float32",
    last: bool = False,
) -> Iterator[Convolution]:
    """Yield a convolution and its gradients; that of an image of pixels is left out, nobody needs it.

    Stride and padding hold for each dimension that the image extends in.
    """
    strides = tuple(stride if size > 1 else 1 for size in image[2:])
    paddings = tuple(padding if size > 1 else 0 for size in image[2:])
    sizes = zip(image[2:], weight[2:], strides, paddings, strict=True)
    output = (image[0], weight[0], *((size + 2 * pad - of) // step + 1 for size, of, step, pad in sizes))
    for kind in ("forward", "image", "weight"):
        if kind == "image" and image[1] == 3:
            continue
        yield Convolution(
            kind=kind,
            dtype=dtype,
            image=image,
            weight=weight,
            output=output,
            image_strides=dense_strides(image, last=last),
            weight_strides=dense_strides(weight, last=last),
            output_strides=dense_strides(output, last=last),
            padding=paddings,
            stride=strides,
            dilation=(1,) * len(strides),
        )


def resnet18(batch: int, height: int, width: int, **how: Any) -> Iterator[Convolution]:
    """Yield the distinct convolutions of a ResNet-18, and ACT's 1x1 behind it."""

    def halved(size: int) -> int:
        return -(-size // 2)

    def add(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> Iterator[Convolution]:
        weight = (channels_out, channels_in, kernel, kernel)
        return convolutions((batch, channels_in, height, width), weight, stride, kernel // 2, **how)

    yield from add(3, 64, 7, 2)
    height, width = halved(halved(height)), halved(halved(width))
    yield from add(64, 64, 3)
    for before, after in pairwise((64, 128, 256, 512)):
        yield from add(before, after, 3, 2)
        yield from add(before, after, 1, 2)
        height, width = halved(height), halved(width)
        yield from add(after, after, 3)
    yield from add(512, 512, 1)


def described(problem: Convolution) -> dict[str, Any]:
    """Return the columns that name a problem in the files."""
    return {
        "kind": _KINDS[problem.kind],
        "x": problem.image,
        "w": problem.weight,
        "y": problem.output,
        "stride": problem.stride,
        "pad": problem.padding,
        "dil": problem.dilation,
        "dt": NAMES[problem.dtype],
        "cl": int(problem.image_strides == dense_strides(problem.image, last=True)),
    }


def each_batch(
    make: Callable[..., Iterator[Convolution]], batches: Iterable[int], *sizes: tuple[int, int], **how: Any
) -> Iterator[Convolution]:
    """Yield the problems of a network for each size (height, width) and each batch size."""
    for height, width in sizes:
        for batch in batches:
            yield from make(batch, height, width, **how)
