"""One cell: everything that decides how a training run uses its GPU, and nothing else.

A `Cell` is a plain frozen record. Its `trace_key` leaves out what a trace does not depend on
(batch size, GPU, capacity, allocator settings), so that one trace serves many cells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from actprof.errors import UsageError

SCHEMA_VERSION = 1
PRECISIONS = ("fp32", "fp16", "bf16")
OPTIMIZERS = ("preset", "adamw", "adam", "sgd")
# What can be done to the policy or its optimizer in a few lines of Python; `policies/changes.py` has them.
CHANGES = (
    "accumulate_2",
    "channels_last",
    "checkpoint_backbone",
    "checkpoint_encoder",
    "frozen_backbone",
    "fused_adamw",
    "fused_attention",
)
_RESOLUTION = re.compile(r"(?P<width>[1-9]\d*)x(?P<height>[1-9]\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training run: policy, inputs, batch size, precision, allocator settings and GPU.

    Attributes:
        policy: lerobot's name of the policy (`act`).
        overrides: fields of the policy's lerobot config and their values (`{"chunk_size": 50}`).
        cameras: number of cameras; each delivers RGB images of the same resolution.
        resolution: `WIDTHxHEIGHT` in pixels, as delivered by the dataset.
        batch_size: samples per `update_policy`.
        state_dim: length of the robot's state vector (0: no state).
        action_dim: length of one action.
        optimizer: `preset` (the policy's own) or lerobot's name of an optimizer (`adamw`, `adam`, `sgd`).
        precision: `fp32`, `fp16` or `bf16`: the accelerator's mixed precision.
        alloc_conf: a `PYTORCH_CUDA_ALLOC_CONF` in PyTorch's own syntax; empty for the defaults.
        gpu: name of a GPU of the catalogue, or None when only `capacity_bytes` is known.
        capacity_bytes: memory of the device; None takes the catalogue's figure.
        used_by_others_bytes: memory of the device that other processes hold.
        cudnn_benchmark: whether cuDNN tries its plans; lerobot's `--cudnn_deterministic` switches it off.
        changes: names of `CHANGES` that are made to the policy or its optimizer, sorted.
    """

    policy: str = "act"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    cameras: int = 2
    resolution: str = "640x480"
    batch_size: int = 8
    state_dim: int = 6
    action_dim: int = 6
    optimizer: str = "preset"
    precision: str = "fp32"
    alloc_conf: str = ""
    gpu: str | None = "RTX 3090"
    capacity_bytes: int | None = None
    used_by_others_bytes: int = 0
    cudnn_benchmark: bool = True
    changes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no run can be.

        Raises:
            UsageError: names the field and its value.
        """
        least = {"cameras": 1, "batch_size": 1, "state_dim": 0, "action_dim": 1, "used_by_others_bytes": 0}
        for name, lowest in least.items():
            if type(getattr(self, name)) is not int:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be a whole number")
            if getattr(self, name) < lowest:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {lowest}")
        if self.capacity_bytes is not None and self.capacity_bytes < 1:
            raise UsageError(f"the capacity is {self.capacity_bytes} bytes; it must be at least 1")
        for kind, value, known in (
            ("a precision", self.precision, PRECISIONS),
            ("an optimizer", self.optimizer, OPTIMIZERS),
        ):
            if value not in known:
                raise UsageError(f"{value!r} is not {kind}; choose one of {', '.join(known)}")
        parse_resolution(self.resolution)
        self._check_changes()

    def _check_changes(self) -> None:
        if isinstance(self.changes, str):
            raise UsageError(f"changes is the text {self.changes!r}; give a list of names")
        for name in self.changes:
            if name not in CHANGES:
                raise UsageError(f"{name!r} is not a change; choose among {', '.join(CHANGES)}")
        object.__setattr__(self, "changes", tuple(sorted(set(self.changes))))
        if self.batch_size % self.micro_batches:
            raise UsageError(
                f"a batch of {self.batch_size} has no {self.micro_batches} equal parts, as accumulate_2 "
                "asks; give an even batch size"
            )

    @property
    def micro_batches(self) -> int:
        """How many equal parts of a batch go through the policy one after another."""
        return 2 if "accumulate_2" in self.changes else 1

    @property
    def autocast(self) -> str:
        """The precision that the forward pass has on CUDA: `fp32`, `fp16` or `bf16`.

        A policy's `use_amp` asks for autocast's default dtype, which is fp16 there (`train` in
        lerobot/scripts/lerobot_train.py).
        """
        return "fp16" if self.precision == "fp32" and self.overrides.get("use_amp") else self.precision

    @property
    def compiled(self) -> bool:
        """Whether the policy hands itself to `torch.compile`, as several of lerobot's do when asked to."""
        return bool(self.overrides.get("compile_model"))

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return parse_resolution(self.resolution)[0]

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return parse_resolution(self.resolution)[1]

    @property
    def cameras_text(self) -> str:
        """The number of cameras in words: `1 camera`, `2 cameras`."""
        return "1 camera" if self.cameras == 1 else f"{self.cameras} cameras"

    def trace_key(self) -> dict[str, Any]:
        """Return what a trace depends on: the cell without batch size, GPU and allocator settings."""
        left_out = {"batch_size", "alloc_conf", "gpu", "capacity_bytes", "used_by_others_bytes"}
        left_out |= {"cudnn_benchmark"}
        if not self.changes:
            left_out.add("changes")
        return {name: value for name, value in self.to_json().items() if name not in left_out}

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field, overrides sorted by name."""
        overrides = dict(sorted(self.overrides.items()))
        return {**asdict(self), "overrides": overrides, "changes": list(self.changes)}

    def identity(self) -> str:
        """Return the canonical JSON text of the cell: equal cells have equal texts."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a cell from `to_json`; fields that an older file lacks take their defaults."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


def parse_resolution(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels of `WIDTHxHEIGHT`.

    Raises:
        UsageError: `text` has another form, or a side of zero.
    """
    match = _RESOLUTION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a resolution; write WIDTHxHEIGHT, like 640x480")
    return int(match["width"]), int(match["height"])
