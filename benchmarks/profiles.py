"""Recorded profiles of training steps beside the kernels that are predicted: read, and matched op by op.

A profile is what `benchmarks/gpu/profile_step.py` writes. Its ops and those of a trace come in the same
order, so that the longest common subsequence of their names pairs them; a few ops have other names where the
dispatcher shows them and where the profiler does.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from actprof.cell import Cell
from actprof.hardware import find_gpu
from actprof.hardware.gpu import Gpu
from actprof.step_time.step import PlayedStep, play_step
from actprof.trace.cache import trace_for
from actprof.trace.model import Trace

ROOT = Path(__file__).resolve().parents[1]
GPU = "H100 80 GB"
OWN = tuple(sorted((ROOT / "reports/accuracy/h100/profiles").glob("*.json.gz")))
SHARED = tuple(sorted((ROOT.parent / "shared/measured/h100/profiles").glob("*.json.gz")))
TASK_TOKENS = {"smolvla": 14}  # of the task that was trained; the profiles do not tell

_FILLS = "zeros full zeros_like full_like ones ones_like new_zeros new_full new_ones fill_ zero_"
_SAME = {
    **dict.fromkeys((*_FILLS.split(), "scalar_tensor"), ("fill_",)),
    **dict.fromkeys(("clone", "_to_copy", "repeat"), ("copy_",)),
    "convolution": ("cudnn_convolution",),
    "stack": ("cat",),
    "relu": ("clamp_min",),
    "relu_": ("clamp_min_",),
    "slice_backward": ("fill_", "copy_"),
    "select_backward": ("fill_", "copy_"),
    "_softmax_backward_data": ("_softmax_backward_data", "mul"),
    "baddbmm": ("baddbmm", "copy_"),
    "_scaled_dot_product_efficient_attention": ("_efficient_attention_forward",),
    "rsub": ("sub",),
}


@dataclass(frozen=True, slots=True)
class Timed:
    """A kernel as the profiler saw it: its name and its microseconds."""

    name: str
    microseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedProfile:
    """One profiled step.

    Attributes:
        name: of the file.
        cell, trace, step: what was run, and what is predicted of it.
        seen: of each row of the trace, the kernels that the profiler saw.
        device: every kernel of `update_policy`, those of ops that are matched to nothing as well.
        seconds: of a step without the profiler.
    """

    name: str
    cell: Cell
    trace: Trace
    step: PlayedStep
    seen: Mapping[int, Sequence[Timed]]
    device: Sequence[Timed]
    seconds: float

    @property
    def device_seconds(self) -> float:
        """Seconds in which the device worked."""
        return sum(kernel.microseconds for kernel in self.device) * 1e-6


def read_profile(path: Path, *, gpu: Gpu | None = None) -> MatchedProfile:
    """Return a profile with what is predicted of its step on the card that it was taken on."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    cell = _cell_of(data["cell"])
    trace, _cached = trace_for(cell)
    step = play_step(trace, cell.batch_size, gpu or find_gpu(GPU), benchmark=cell.cudnn_benchmark)
    if step is None:
        raise SystemExit(f"the speed of the {GPU} is not known")
    ops = [op for op in data["ops"] if not op[2] and op[0].startswith("aten::")]
    rows = list(dict.fromkeys(step.rows))
    named = [(name, row) for row in rows for name in _names(trace.ops.names[row])]
    matcher = SequenceMatcher(
        None, [name for name, _row in named], [op[0].removeprefix("aten::") for op in ops], autojunk=False
    )
    seen: dict[int, list[Timed]] = {}
    first = len(ops)
    for mine, theirs, count in matcher.get_matching_blocks():
        for offset in range(count):
            seen.setdefault(named[mine + offset][1], []).extend(_timed(ops[theirs + offset]))
            first = min(first, theirs + offset)
    device = [kernel for op in ops[first:] for kernel in _timed(op)]
    return MatchedProfile(
        name=path.name.partition(".")[0],
        cell=cell,
        trace=trace,
        step=step,
        seen=seen,
        device=device,
        seconds=data["plain_step"],
    )


def _cell_of(data: Mapping[str, Any]) -> Cell:
    known = {field.name for field in fields(Cell)}
    given = {name: value for name, value in data.items() if name in known and value is not None}
    tokens = TASK_TOKENS.get(given["policy"], 0)
    return Cell(**{**given, "gpu": GPU, "task_tokens": given.get("task_tokens") or tokens})


def _names(op: str) -> Sequence[str]:
    name = op.removeprefix("aten.").split(".")[0]
    return _SAME.get(name, (name,))


def _timed(op: Sequence[Any]) -> list[Timed]:
    return [Timed(name, microseconds) for name, microseconds in op[4]]
