"""What can be done about a run that does not fit: one function per remedy, from a cell to an `Offer`.

A remedy that does not concern a cell returns None; which changes in Python fit a policy is said by its
`PolicySpec`, as are the fields of its config that may be set (`policy_options`). `set_to_none` is not among
them: lerobot clears gradients with `optimizer.zero_grad()`, which has done that by default since torch 2.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from actprof.advice.offer import (
    CODE,
    DATA,
    ENVIRONMENT,
    FLAG,
    INPUT,
    MODEL,
    NUMERICS,
    TRAINING,
    Offer,
)
from actprof.advice.policy_options import PARTS, policy_offers
from actprof.advice.several_gpus import bucket_view, fsdp
from actprof.allocator import AllocatorConfig
from actprof.cell import CHANGES, Cell
from actprof.cell_field import parse_resolution
from actprof.policies import policy_spec
from actprof.policies.change_code import change_code
from actprof.policies.changes import LOSSLESS, read_change
from actprof.policies.lerobot_versions import configures_accelerator
from actprof.policies.precision import autocast_of

# Each with its burden: the smaller the image, the more it lacks.
RESOLUTIONS = {"320x240": 1.5, "256x256": 1.6, "224x224": 1.7}
LORA = {"method_type": "LORA", "r": 16}

# What saves most in most policies, in this order; `first_remedies` takes two of them.
_FIRST = (
    "resize_224x224", "resize_imgs_with_padding", "gradient_checkpointing", "lora", "fused_attention",
    "fused_expert_attention", "bf16",
)  # fmt: skip

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


def smaller_batch(cell: Cell, fitting: int | None = None) -> Offer | None:
    """Take the batch that fits, if that is known, or half of it."""
    size = cell.batch_size // 2 if fitting is None else min(fitting, cell.batch_size - 1)
    size -= size % cell.micro_batches
    if size < 1:
        return None
    return batch_size_offer("smaller_batch", replace(cell, batch_size=size))


def batch_size_offer(name: str, cell: Cell) -> Offer:
    """Return the offer of the cell's batch size, for a run of another one."""
    return Offer(
        name=name,
        title=f"batch size {cell.batch_size}",
        family="batch",
        kind=TRAINING,
        cost=FLAG,
        burden=1.5,
        cell=cell,
        flags=(f"--batch_size={cell.batch_size}",),
        note="the steps of an epoch change with it: set --steps to see as many samples",
    )


def accumulate(cell: Cell) -> Offer | None:
    """Take half the batch twice for each step of the optimizer, where lerobot itself can."""
    if not configures_accelerator() or cell.batch_size % (2 * cell.micro_batches):
        return None
    size, times = cell.batch_size // 2, 2 * cell.accumulate
    return Offer(
        name="accumulate",
        title=f"gradient accumulation ({times} of {size})",
        family="batch",
        kind=LOSSLESS if "samples apart" in policy_spec(cell.policy).parts else TRAINING,
        cost=FLAG,
        burden=1.25,
        cell=replace(cell, batch_size=size, accumulate=times),
        flags=(f"--batch_size={size}", f"--accelerator.gradient_accumulation.steps={times}"),
        note="lerobot counts each part as a step: raise --steps to see as many samples",
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
    offer = partial(offer, title="bf16 autocast", cell=replace(cell, precision="bf16"))
    if configures_accelerator():
        return offer(cost=FLAG, flags=("--accelerator.mixed_precision=bf16",))
    return offer(
        cost=ENVIRONMENT,
        environment={"ACCELERATE_MIXED_PRECISION": "bf16"},
        note="with accelerate launch: --mixed_precision=bf16; --policy.use_amp=true would be fp16 on CUDA",
    )


def smaller_images(cell: Cell, resolution: str) -> Offer | None:
    """Resize each frame while it is loaded; nothing for a policy that brings frames to a size of its own."""
    spec = policy_spec(cell.policy)
    if spec.option(cell, spec.resized_by):
        return None
    width, height = parse_resolution(resolution)
    if all(width * height >= of_one[0] * of_one[1] for of_one in cell.frame_sizes):
        return None
    transform = json.dumps(
        {"resize": {"type": "Resize", "kwargs": {"size": [height, width]}}}, separators=(",", ":")
    )
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


def lora(cell: Cell) -> Offer | None:
    """Train an adapter alone, where lerobot knows where one goes."""
    if cell.peft or not policy_spec(cell.policy).lora:
        return None
    return Offer(
        name="lora",
        title=f"LoRA of rank {LORA['r']}",
        family=PARTS,
        kind=MODEL,
        cost=FLAG,
        burden=2.0,
        cell=replace(cell, peft=LORA),
        flags=tuple(f"--peft.{name}={value}" for name, value in LORA.items()),
        note="only for a pretrained policy (--policy.path=…): lerobot adapts no other",
    )


def adamw_8bit(cell: Cell) -> Offer | None:
    """Keep the optimizer's state in 8 bits."""
    if cell.optimizer not in ("preset", "adamw"):
        return None
    return Offer(
        name="adamw_8bit",
        title="8-bit AdamW",
        family="optimizer",
        kind=NUMERICS,
        cost=CODE,
        burden=1.25,
        cell=replace(cell, optimizer="adamw_8bit"),
        code=change_code("adamw_8bit", cell.policy),
        note="that of bitsandbytes (pip install bitsandbytes)",
    )


def in_python(cell: Cell, name: str) -> Offer | None:
    """Make a change of `actprof.policies.changes`, where it fits the policy and is not made yet."""
    change, parts = read_change(name), policy_spec(cell.policy).parts
    fits = change.place(parts) is not None and (change.on == "policy" or cell.optimizer != "adamw_8bit")
    if name in cell.changes or not fits or (change.halves and not _can_be_halved(cell)):
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
    accumulate,
    bf16,
    bucket_view,
    fsdp,
    lora,
    adamw_8bit,
    *(partial(smaller_images, resolution=size) for size in RESOLUTIONS),
    fewer_cameras,
    *(partial(in_python, name=name) for name in CHANGES),
)


def offers(cell: Cell, *, fitting: int | None = None) -> tuple[Offer, ...]:
    """Return every remedy that concerns `cell`, the cheapest first; a batch of `fitting` samples fits."""
    found = [smaller_batch(cell, fitting), *(make(cell) for make in REMEDIES), *policy_offers(cell)]
    return tuple(sorted((offer for offer in found if offer is not None), key=lambda offer: offer.effort))


def first_remedies(cell: Cell, *, in_command: bool = False) -> tuple[str, ...]:
    """Return the names of what helps most policies most: what needs no further trace, and two that do.

    With `in_command` only what flags of lerobot-train can do.
    """
    found = {offer.name: offer for offer in offers(cell) if offer.flags or not in_command}
    free = [name for name, offer in found.items() if offer.cell.trace_key() == cell.trace_key()]
    return (*free, *[name for name in _FIRST if name in found][:2])


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
