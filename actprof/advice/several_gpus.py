"""What can be done about a run on several GPUs: by flags that lerobot has from 0.6.2 on."""

from __future__ import annotations

from dataclasses import replace

from actprof.advice.offer import FLAG, Offer
from actprof.cell import Cell
from actprof.policies import policy_spec
from actprof.policies.changes import LOSSLESS
from actprof.policies.lerobot_versions import configures_accelerator
from actprof.policies.precision import autocast_of

_FAMILY = "several GPUs"


def bucket_view(cell: Cell) -> Offer | None:
    """Let DDP's gradients be views of its buckets, so that they are held once."""
    if cell.strategy != "ddp" or cell.gradient_as_bucket_view or not configures_accelerator():
        return None
    return Offer(
        name="bucket_view",
        title="gradients as views of DDP's buckets",
        family=_FAMILY,
        kind=LOSSLESS,
        cost=FLAG,
        cell=replace(cell, gradient_as_bucket_view=True),
        flags=("--accelerator.ddp.gradient_as_bucket_view=true",),
    )


def fsdp(cell: Cell) -> Offer | None:
    """Shard parameters, gradients and the optimizer's state over the GPUs, where lerobot knows the units.

    lerobot refuses fp16 and adapters there.
    """
    units = policy_spec(cell.policy).units
    refused = cell.peft or autocast_of(cell) == "fp16"
    if cell.strategy != "ddp" or cell.world_size == 1 or not units or refused or not configures_accelerator():
        return None
    return Offer(
        name="fsdp",
        title=f"FSDP over {cell.world_size} GPUs",
        family=_FAMILY,
        kind=LOSSLESS,
        cost=FLAG,
        burden=1.25,
        cell=replace(cell, strategy="fsdp", wrap_modules=units),
        flags=("--parallelism.dp_shard=-1",),
        note="parameters are gathered again and again: more to send, and buffers of their own to reserve",
    )
