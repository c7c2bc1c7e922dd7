"""What `measure_many.py` measures: names and cells of ACT, chosen so that one call answers many questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from actprof.api.cells import make_cell
from actprof.cell import Cell
from actprof.hardware import find_gpu
from actprof.units import GIB

_CHUNK = {"chunk_size": 50, "n_action_steps": 50}
_EXPANDABLE = "expandable_segments:True"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to measure.

    Attributes:
        name: of its row, and of its recording.
        cell: what to run; None of a GPU is the card that is here.
        steps: exactly so many; None lets the time decide.
        recorded: leave a recording.
        alone: on the GPU.
        guess: a batch size at which the search for the largest one begins; 0 searches none.
        gib: what it takes, roughly.
    """

    name: str
    cell: Cell
    steps: int | None = 8
    recorded: bool = False
    alone: bool = False
    guess: int = 0
    gib: float = 12.0


def jobs() -> list[Job]:
    """Return them: boundaries of smaller cards, settings, recordings, FSDP, and what is timed."""
    return [*_boundaries(), *_settings(), *_recordings(), *_sharded(), *_timed()]


def _cell(batch_size: int, resolution: str = "640x480", *, gpu: str | None = None, **fields: Any) -> Cell:
    overrides = {**_CHUNK, **fields.pop("overrides", {})}
    inputs = {"batch_size": batch_size, "resolution": resolution}
    return make_cell(overrides=overrides, gpu=gpu, default_gpu=None, **inputs, **fields)


def _boundaries() -> Iterator[Job]:
    for gpu, resolution, guess, fields in (
        ("RTX 3090", "640x480", 58, {}),
        ("RTX 4070", "320x240", 100, {}),
        ("RTX 3060 12 GB", "640x480", 59, {"cameras": 1}),
        ("RTX 3090", "640x480", 60, {"alloc_conf": _EXPANDABLE}),
        ("RTX 3090", "640x480", 58, {"cudnn_benchmark": False}),
        ("RTX 3090", "640x480", 90, {"precision": "bf16"}),
    ):
        cell = _cell(guess, resolution, gpu=gpu, **fields)
        gib = find_gpu(gpu).capacity_bytes / GIB
        name = f"b-{gpu.replace(' ', '-')}-{_words(cell, size=False)}"
        yield Job(name=name, cell=cell, guess=guess, gib=gib)


def _settings() -> Iterator[Job]:
    for batch_size, resolution, fields in (
        (8, "640x480", {"cameras": 3}),
        (4, "1280x720", {}),
        (16, "640x360", {}),
        (24, "320x240", {}),
        (12, "800x600", {"cameras": 1}),
        (32, "224x224", {"precision": "bf16"}),
        (32, "224x224", {"precision": "fp16"}),
        (16, "640x480", {"overrides": {"chunk_size": 100, "n_action_steps": 100}}),
        (16, "640x480", {"overrides": _backbone("resnet34")}),
        (16, "640x480", {"overrides": _backbone("resnet50")}),
    ):
        for conf in ("", _EXPANDABLE):
            for benchmark in (True, False):
                cell = _cell(batch_size, resolution, alloc_conf=conf, cudnn_benchmark=benchmark, **fields)
                yield Job(name=f"new-{_words(cell)}", cell=cell)


def _recordings() -> Iterator[Job]:
    for batch_size, resolution, fields in (
        (16, "320x240", {"cameras": 3}),
        (8, "640x480", {"precision": "bf16"}),
        (8, "224x224", {"precision": "fp16"}),
        (8, "640x480", {"changes": ("channels_last",)}),
        (8, "640x480", {"changes": ("fused_attention",)}),
        (8, "224x224", {"changes": ("accumulate_2",)}),
        (8, "224x224", {"overrides": _backbone("resnet50")}),
    ):
        cell = _cell(batch_size, resolution, cudnn_benchmark=False, **fields)
        yield Job(name=f"rec-{_words(cell)}", cell=cell, steps=4, recorded=True)


def _sharded() -> Iterator[Job]:
    """What one of several GPUs does under FSDP2: the others are pretended, as in a trace."""
    layers = ("ACTEncoderLayer", "ACTDecoderLayer")
    for gpus, units, fields in (
        (2, layers, {}),
        (8, layers, {}),
        (2, (), {}),
        (8, (), {}),
        (2, layers, {"reshard_after_forward": False}),
        (2, layers, {"precision": "bf16"}),
        (2, layers, {"alloc_conf": _EXPANDABLE}),
    ):
        cell = _cell(8, strategy="fsdp", world_size=gpus, wrap_modules=units, cudnn_benchmark=False, **fields)
        kept = "" if cell.reshard_after_forward else "-kept"
        name = f"fsdp{gpus}-{'layers' if units else 'root'}{kept}-{_words(cell)}"
        yield Job(name=name, cell=cell, steps=4, recorded=True)


def _timed() -> Iterator[Job]:
    for batch_size, resolution in ((8, "640x480"), (32, "640x480"), (64, "224x224")):
        cell = _cell(batch_size, resolution)
        for time_of in range(3):
            yield Job(name=f"time-{_words(cell)}-{time_of}", cell=cell, steps=None, alone=True)


def _backbone(name: str) -> dict[str, Any]:
    return {"vision_backbone": name, "pretrained_backbone_weights": None}


def _words(cell: Cell, *, size: bool = True) -> str:
    """Return what tells cells apart in a name, with the batch size or without."""
    other = [cell.overrides.get("vision_backbone", ""), "" if cell.precision == "fp32" else cell.precision]
    chunk = cell.overrides["chunk_size"]
    words = [*other, "" if chunk == _CHUNK["chunk_size"] else f"chunk{chunk}", *cell.changes]
    settings = ["exp" if cell.alloc_conf else "nat", "bench" if cell.cudnn_benchmark else "det"]
    inputs = [f"{cell.resolution}x{cell.cameras}", f"b{cell.batch_size}" if size else ""]
    return "-".join(filter(None, (*words, *inputs, *settings)))
