"""What can be done about a run that does not fit: one function per remedy, from a cell to an `Offer`.

A remedy that does not concern a cell returns None; which changes in Python fit a policy is said by its
`PolicySpec`. `set_to_none` is not among them: lerobot clears gradients
with `optimizer.zero_grad()`, which has done that by default since torch 2.0. Nor is there a flag for gradient
accumulation: `lerobot-train` never enters `Accelerator.accumulate`, so that accelerate's own setting only
divides the loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from actprof.allocator import AllocatorConfig
from actprof.cell import CHANGES, Cell
from actprof.cell_field import parse_resolution
from actprof.policies import policy_spec
from actprof.policies.change_code import change_code
from actprof.policies.changes import LOSSLESS, read_change
from actprof.policies.precision import autocast_of

NUMERICS = "changes the numerics"
INPUT = "changes the input"
TRAINING = "changes the training"
MODEL = "changes the model"
KINDS = (LOSSLESS, NUMERICS, INPUT, TRAINING, MODEL)

# The cheapest change first.
ENVIRONMENT, FLAG, DATA, CODE = 1, 2, 3, 4

# Each with its burden: the smaller the image, the more it lacks.
RESOLUTIONS = {"320x240": 1.5, "256x256": 1.6, "224x224": 1.7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A remedy for one cell, before anybody knows what it does.

    Attributes:
        name: of the remedy (`resize_224x224`).
        title: what is done, in words.
        family: remedies of one family stand for each other; a combination has at most one.
        kind: one of `KINDS`; a lossless one computes the same up to rounding.
        cost: what the change itself takes: `ENVIRONMENT`, `FLAG`, `DATA` or `CODE`.
        burden: what it takes from the training: 1 nothing, up to 4 a whole camera.
        cell: the cell with the remedy.
        flags: for `lerobot-train`.
        environment: variables to set.
        code: lines of Python, the very ones that a cell with this change runs.
        note: what else there is to know.
    """

    name: str
    title: str
    family: str
    kind: str
    cost: int
    cell: Cell
    burden: float = 1.0
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    note: str = ""

    @property
    def effort(self) -> float:
        """Cost times burden: what a search wants little of."""
        return self.cost * self.burden


Make = Callable[[Cell], Offer | None]


def expandable_segments(cell: Cell) -> Offer | None:
    """Let segments grow, so that less lies between them unused."""
    if AllocatorConfig.parse(cell.alloc_conf).expandable_segments:
        return None
    parts = [part for part in cell.alloc_conf.split(",") if part and "expandable_segments" not in part]
    conf = ",".join([*parts, "expandable_segments:True"])
    return Offer(
        name="expandable_segments",
        title="expandable segments",
        family="allocator",
        kind=LOSSLESS,
        cost=ENVIRONMENT,
        cell=replace(cell, alloc_conf=conf),
        environment={"PYTORCH_CUDA_ALLOC_CONF": conf},
    )


def smaller_batch(cell: Cell, largest: int | None = None) -> Offer | None:
    """Take half the batch, or the largest power of two that runs if that is less."""
    size = cell.batch_size // 2
    if largest is not None and largest < size:
        size = 1 << (largest.bit_length() - 1) if largest else 0
    size -= size % cell.micro_batches
    if size < 1:
        return None
    return Offer(
        name="smaller_batch",
        title=f"batch size {size}",
        family="batch",
        kind=TRAINING,
        cost=FLAG,
        burden=1.5,
        cell=replace(cell, batch_size=size),
        flags=(f"--batch_size={size}",),
        note="an epoch then has more steps; raise --steps to see as many samples",
    )


def bf16(cell: Cell) -> Offer | None:
    """Run the forward pass under autocast, as accelerate does.

    Not by `--policy.use_amp=true`: lerobot 0.6.1 takes autocast's default dtype then, which is fp16 on CUDA.
    """
    if autocast_of(cell) != "fp32":
        return None
    offer = partial(Offer, name="bf16", family="precision", kind=NUMERICS, burden=1.25)
    if policy_spec(cell.policy).dtype:
        return offer(
            title="bf16 weights and autocast",
            cost=FLAG,
            cell=replace(cell, overrides={**cell.overrides, "dtype": "bfloat16"}),
            flags=("--policy.dtype=bfloat16",),
        )
    return offer(
        title="bf16 autocast",
        cost=ENVIRONMENT,
        cell=replace(cell, precision="bf16"),
        environment={"ACCELERATE_MIXED_PRECISION": "bf16"},
        note="with accelerate launch: --mixed_precision=bf16; --policy.use_amp=true would be fp16 on CUDA",
    )


def smaller_images(cell: Cell, resolution: str) -> Offer | None:
    """Resize each frame while it is loaded."""
    width, height = parse_resolution(resolution)
    if all(width * height >= of_one[0] * of_one[1] for of_one in cell.frame_sizes):
        return None
    transform = json.dumps({"resize": {"type": "Resize", "kwargs": {"size": [height, width]}}})
    prefix = "--dataset.image_transforms"
    return Offer(
        name=f"resize_{resolution}",
        title=f"images of {resolution}",
        family="resolution",
        kind=INPUT,
        cost=FLAG,
        burden=RESOLUTIONS[resolution],
        cell=replace(cell, resolution=resolution),
        flags=(f"{prefix}.enable=true", f"{prefix}.max_num_transforms=1", f"{prefix}.tfs={transform}"),
        note=(
            "the robot's frames must then be resized alike when the policy runs; recording or re-encoding "
            "the videos at that size does both, and they decode faster"
        ),
    )


def fewer_cameras(cell: Cell) -> Offer | None:
    """Leave out one camera."""
    if cell.cameras < 2:
        return None
    left = cell.cameras - 1
    return Offer(
        name="fewer_cameras",
        title=f"{left} camera" if left == 1 else f"{left} cameras",
        family="cameras",
        kind=INPUT,
        cost=DATA,
        burden=4,
        cell=replace(cell, cameras=left, resolution=",".join(cell.resolution.split(",")[:left])),
        note=(
            "lerobot-edit-dataset --repo_id=… --operation.type=remove_feature "
            "--operation.feature_names=\"['observation.images.NAME']\" makes a dataset without it"
        ),
    )


def in_python(cell: Cell, name: str) -> Offer | None:
    """Make a change of `actprof.policies.changes`, where it fits the policy and is not made yet."""
    change, parts = read_change(name), policy_spec(cell.policy).parts
    if name in cell.changes or change.place(parts) is None or (change.halves and not _can_be_halved(cell)):
        return None
    said = {key: getattr(change, key) for key in ("name", "title", "family", "kind", "burden", "note")}
    return Offer(
        **said,
        cost=CODE,
        cell=replace(cell, changes=(*cell.changes, name)),
        code=change_code(name, cell.policy),
    )


def _can_be_halved(cell: Cell) -> bool:
    """Tell whether two backward passes make the gradients of one: fp16's would lack the scale of the loss."""
    return cell.batch_size >= 4 and cell.batch_size % 2 == 0 and autocast_of(cell) != "fp16"


REMEDIES: tuple[Make, ...] = (
    expandable_segments,
    bf16,
    *(partial(smaller_images, resolution=size) for size in RESOLUTIONS),
    fewer_cameras,
    *(partial(in_python, name=name) for name in CHANGES),
)


def offers(cell: Cell, *, largest: int | None = None) -> tuple[Offer, ...]:
    """Return every remedy that concerns `cell`, the cheapest first; `largest` is the batch size that runs."""
    found = [smaller_batch(cell, largest), *(make(cell) for make in REMEDIES)]
    return tuple(sorted((offer for offer in found if offer is not None), key=lambda offer: offer.effort))


def combine(cell: Cell, chosen: tuple[Offer, ...]) -> Cell:
    """Return `cell` with all the remedies of `chosen`: offered for it, and each of another family.

    Changes add up, and so do fields of the policy's config; any other field is taken from who altered it.
    """
    together: dict[str, Any] = {}
    for offer in chosen:
        for name in (f.name for f in fields(Cell)):
            before, after = getattr(cell, name), getattr(offer.cell, name)
            if after != before:
                together[name] = _added(together.get(name, before), before, after)
    return replace(cell, **together)


def _added(known: Any, before: Any, after: Any) -> Any:
    """Return `known` with what makes `after` of `before`."""
    if isinstance(after, tuple):
        return (*known, *(name for name in after if name not in before))
    if isinstance(after, Mapping):
        return {**known, **{name: it for name, it in after.items() if (name, it) not in before.items()}}
    return after
