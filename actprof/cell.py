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

from actprof.cell_field import CellField, Kind, parse_resolution, read_cameras
from actprof.errors import UsageError

_DEFAULT_RESOLUTION = "640x480"
PRECISIONS = ("fp32", "fp16", "bf16")
OPTIMIZERS = ("preset", "adamw", "adam", "sgd", "adamw_8bit")
STRATEGIES = ("none", "ddp", "fsdp")
_STRATEGY_OF = {
    "find_unused_parameters": "ddp", "gradient_as_bucket_view": "ddp",
    "reshard_after_forward": "fsdp", "wrap_modules": "fsdp",
}  # fmt: skip
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
    cameras: int = _field(
        2, "cameras", "number of cameras, or the list of their resolutions",
        help="How many, or the resolution of each: 640x480,480x640.", in_trace="always", said=True,
    )  # fmt: skip
    # As the dataset delivers them, RGB: one for all, or one for each with commas between.
    resolution: str = _field(
        _DEFAULT_RESOLUTION, "resolution", "WIDTHxHEIGHT of each camera in pixels",
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
    environment_dim: int = _field(
        0, "count", "length of observation.environment_state (0: none)", called="environment state",
        help="Length of observation.environment_state (0: none).",
    )  # fmt: skip
    task_tokens: int = _field(
        0, "count", "tokens of the longest task (0: as many as the policy reads)",
        help="Tokens of the longest task, for policies that read it (0: as many as they read).",
    )  # fmt: skip
    optimizer: str = _field(
        "preset", "choice", "preset is the policy's own; adamw_8bit is that of bitsandbytes",
        help="preset (the policy's own), adamw, adam, sgd, or adamw_8bit of bitsandbytes.",
        choices=OPTIMIZERS, in_trace="always",
    )  # fmt: skip
    peft: Mapping[str, Any] = _field(
        {}, "overrides", "fields of lerobot's PeftConfig, like r: 16",
        help="Train an adapter: a field of lerobot's PeftConfig, like r=16 (LoRA). Repeatable.",
        default_text="none",
    )  # fmt: skip
    accumulate: int = _field(
        1, "count", "batches for each step of the optimizer, as lerobot accumulates from 0.6.2 on", least=1
    )
    ema: bool = _field(
        False, "flag", "a moving average of the parameters, as lerobot keeps it from 0.6.2 on",  # noqa: FBT003
        called="EMA",
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
    world_size: int = _field(
        1, "count", "GPUs of the run, each with a process and a batch of its own", least=1, late=True
    )
    # With several GPUs `none` becomes `ddp`, as accelerate makes of it.
    strategy: str = _field(
        "none", "choice", "how several GPUs share the training",
        help="ddp (DistributedDataParallel), or fsdp (FSDP2: parameters, gradients and state are sharded).",
        default_text="ddp with several GPUs", choices=STRATEGIES, late=True,
    )  # fmt: skip
    find_unused_parameters: bool = _field(
        True, "flag", "DDP looks for parameters without a gradient, as lerobot asks it to",  # noqa: FBT003
        called="find_unused_parameters", late=True,
    )  # fmt: skip
    gradient_as_bucket_view: bool = _field(
        False, "flag", "DDP's gradients are views of its buckets",  # noqa: FBT003
        called="gradient_as_bucket_view", late=True,
    )  # fmt: skip
    reshard_after_forward: bool = _field(
        True, "flag", "FSDP gathers parameters again for the backward pass",  # noqa: FBT003
        called="reshard_after_forward", late=True,
    )  # fmt: skip
    # Sorted, each once.
    wrap_modules: tuple[str, ...] = _field(
        (), "choices", "classes of the modules that FSDP shards as units of their own",
        help="A class of modules that FSDP shards as units of their own. Repeatable.",
        default_text="the policy's", key="wrap_modules", option="--wrap-module", late=True,
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
        self._count_cameras()
        for part in CELL_FIELDS:
            part.check(getattr(self, part.name))
        for name in ("changes", "wrap_modules"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        if self.world_size > 1 and self.strategy == "none":
            object.__setattr__(self, "strategy", "ddp")
        if self.batch_size % self.micro_batches:
            raise UsageError(
                f"a batch of {self.batch_size} has no {self.micro_batches} equal parts, as accumulate_2 "
                "asks; give an even batch size"
            )

    def _count_cameras(self) -> None:
        """Make of a list of resolutions as cameras, and of several resolutions, a number and one text."""
        cameras, listed = read_cameras(self.cameras)
        if listed and self.resolution not in (_DEFAULT_RESOLUTION, listed):
            raise UsageError(f"cameras lists resolutions, so {self.resolution!r} is one too many")
        sizes = [text.strip() for text in (listed or self.resolution).split(",")]
        if len(sizes) not in (1, cameras):
            raise UsageError(
                f"there are {len(sizes)} resolutions for {self.cameras} cameras; give one, or one for each"
            )
        object.__setattr__(self, "cameras", cameras)
        object.__setattr__(self, "resolution", sizes[0] if len(set(sizes)) == 1 else ",".join(sizes))

    @property
    def micro_batches(self) -> int:
        """How many equal parts of a batch go through the policy one after another."""
        return 2 if "accumulate_2" in self.changes else 1

    @property
    def step_samples(self) -> int:
        """Samples for each step of the optimizer: those of all the batches whose gradients it adds up."""
        return self.batch_size * self.accumulate

    @property
    def global_samples(self) -> int:
        """Samples for each step of the optimizer on all GPUs together."""
        return self.step_samples * self.world_size

    @property
    def compiled(self) -> bool:
        """Whether the policy hands itself to `torch.compile`, as several of lerobot's do when asked to."""
        return bool(self.overrides.get("compile_model"))

    @property
    def frame_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each camera's images in pixels."""
        sizes = tuple(parse_resolution(text) for text in self.resolution.split(","))
        return sizes * self.cameras if len(sizes) == 1 else sizes

    @property
    def pixels(self) -> int:
        """Pixels of all cameras together."""
        return sum(width * height for width, height in self.frame_sizes)

    @property
    def cameras_text(self) -> str:
        """The number of cameras in words: `1 camera`, `2 cameras`."""
        return "1 camera" if self.cameras == 1 else f"{self.cameras} cameras"

    def reads(self, name: str) -> bool:
        """Tell whether a field counts for this run: settings of DDP do under DDP alone, FSDP's under FSDP."""
        return _STRATEGY_OF.get(name, self.strategy) == self.strategy

    def trace_key(self) -> dict[str, Any]:
        """Return what a trace depends on: one trace serves all batch sizes, GPUs and allocator settings."""
        kept = {
            f.name
            for f in CELL_FIELDS
            if f.in_trace == "always" or (f.in_trace == "when_set" and getattr(self, f.name) != f.default)
        }
        if self.strategy != "fsdp":  # under DDP each GPU has the same, however many there are
            kept -= {"world_size"}
        kept = set(filter(self.reads, kept))
        return {name: value for name, value in self.to_json().items() if name in kept}

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field, overrides sorted by name."""
        maps = {name: dict(sorted(getattr(self, name).items())) for name in ("overrides", "peft")}
        lists = {name: list(getattr(self, name)) for name in ("changes", "wrap_modules")}
        return {**asdict(self), **maps, **lists}

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
