"""One cell: everything that decides how a training run uses its GPU, and nothing else.

A `Cell` is a plain frozen record, and each of its fields is described here once (the terms are those of
`actprof.cell_field`): options, scenario files, tables, printed commands and keys of traces derive their part
from `CELL_FIELDS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from actprof.cell_field import CellField, Kind, parse_resolution
from actprof.errors import UsageError

PRECISIONS = ("fp32", "fp16", "bf16")
OPTIMIZERS = ("preset", "adamw", "adam", "sgd")
# What can be done to the policy or its optimizer in a few lines of Python, a file each.
CHANGES = tuple(
    sorted(file.stem for file in Path(__file__).parent.glob("policies/changes/*.py") if file.stem[0] != "_")
)


def _field(default: Any, kind: Kind, about: str, **more: Any) -> Any:
    """Return a dataclass field whose metadata are attributes of its `CellField`."""
    metadata = {"default": default, "kind": kind, "about": about, **more}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training run: policy, inputs, batch size, precision, allocator settings and GPU."""

    policy: str = _field(
        "act", "policy", "lerobot's name of the policy",
        help="lerobot's name of the policy.", in_trace="always", said=True,
    )  # fmt: skip
    overrides: Mapping[str, Any] = _field(
        {}, "overrides", "fields of the policy's lerobot config; a single one is swept as set.FIELD",
        help="A field of the policy's lerobot config, like chunk_size=50. Repeatable.",
        default_text="lerobot's", key="set", in_trace="always",
    )  # fmt: skip
    cameras: int = _field(2, "count", "number of cameras", least=1, in_trace="always", said=True)
    # As the dataset delivers them: RGB, the same for each camera.
    resolution: str = _field(
        "640x480", "resolution", "WIDTHxHEIGHT of each camera in pixels",
        help="Of each camera's images.", in_trace="always", said=True,
    )  # fmt: skip
    batch_size: int = _field(8, "count", "samples per training step", least=1, in_trace="never", said=True)
    state_dim: int = _field(
        6, "count", "length of the state vector (0: none)", called="state",
        help="Length of the robot's state.", in_trace="always", said=True,
    )  # fmt: skip
    action_dim: int = _field(
        6, "count", "length of one action", called="action", least=1, in_trace="always", said=True
    )
    optimizer: str = _field(
        "preset", "choice", "preset is the policy's own",
        help="preset (the policy's own), adamw, adam or sgd.", choices=OPTIMIZERS, in_trace="always",
    )  # fmt: skip
    precision: str = _field(
        "fp32", "choice", "the accelerator's mixed precision",
        help="fp32, fp16 or bf16 (mixed precision).", choices=PRECISIONS, in_trace="always",
    )  # fmt: skip
    alloc_conf: str = _field(
        "", "alloc_conf", "a PYTORCH_CUDA_ALLOC_CONF in PyTorch's syntax",
        help="A PYTORCH_CUDA_ALLOC_CONF, like expandable_segments:True.",
        default_text="none", in_trace="never", late=True,
    )  # fmt: skip
    # None where only the capacity is known.
    gpu: str | None = _field(
        "RTX 3090", "gpu", "a GPU of the catalogue or of gpus:, by any usual name",
        help="A GPU of `actprof gpus`, by any usual name.",
        default_text="RTX 3090, or none with --capacity", in_trace="never", said=True,
    )  # fmt: skip
    # None for the catalogue's figure.
    capacity_bytes: int | None = _field(
        None, "capacity", "memory of the device instead of the GPU's usual figure",
        help="Memory of the device, like 23.69GiB.", default_text="the GPU's", in_trace="never",
    )  # fmt: skip
    used_by_others_bytes: int = _field(0, "size", "memory that other programs hold", in_trace="never")
    cudnn_benchmark: bool = _field(
        True, "flag", "false is what lerobot's cudnn_deterministic makes of it",  # noqa: FBT003 - the default
        help="Whether cuDNN tries its plans, as lerobot lets it unless --cudnn_deterministic.",
        called="cudnn.benchmark", in_trace="never", late=True,
    )  # fmt: skip
    # Sorted, each once.
    changes: tuple[str, ...] = _field(
        (), "choices", "changes made to the policy or its optimizer in Python",
        help="A change of `actprof suggest`, like fused_attention. Repeatable.",
        default_text="none", option="--change", choices=CHANGES, late=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse what no run can be.

        Raises:
            UsageError: names the field and its value.
        """
        for part in CELL_FIELDS:
            part.check(getattr(self, part.name))
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
        """Return what a trace depends on: one trace serves all batch sizes, GPUs and allocator settings."""
        kept = {
            f.name
            for f in CELL_FIELDS
            if f.in_trace == "always" or (f.in_trace == "when_set" and getattr(self, f.name) != f.default)
        }
        return {name: value for name, value in self.to_json().items() if name in kept}

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


def _describe(name: str, given: Mapping[str, Any]) -> CellField:
    """Return the description of a field; what is not given follows from its name and `about`."""
    keyword = name.removesuffix("_bytes")
    key = given.get("key", keyword)
    about = given["about"]
    derived = {"help": f"{about[0].upper()}{about[1:]}.", "called": keyword.replace("_", " ")}
    derived |= {"keyword": keyword, "key": key, "option": f"--{key.replace('_', '-')}"}
    return CellField(**{"name": name, **derived, **given})


CELL_FIELDS = tuple(_describe(part.name, part.metadata) for part in fields(Cell))
# As commands and their help have them.
OPTION_FIELDS = tuple(sorted(CELL_FIELDS, key=lambda part: part.late))
