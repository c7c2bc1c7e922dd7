"""How a command shares training between its GPUs: by DDP, or by FSDP2 as accelerate is told.

accelerate takes FSDP's settings from options (`--fsdp_…`), from `fsdp_config` of its file, or from variables
(`accelerate/utils/launch.py` and `accelerate/utils/dataclasses.py` of 1.15); its default is FSDP1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How several GPUs share the training; names are those of the cell's fields.

    Attributes:
        unsupported: what of it actprof does not trace, in a sentence; or empty.
    """

    strategy: str = "none"
    find_unused_parameters: bool = True
    gradient_as_bucket_view: bool = False
    reshard_after_forward: bool = True
    wrap_modules: tuple[str, ...] = ()
    unsupported: str = ""


def lerobot_sharing(config: Mapping[str, Any]) -> Sharing | None:
    """Return how lerobot's own config, as from 0.6.2 on, shares the training; None where it does not say."""
    topology, own = config.get("parallelism") or {}, config.get("accelerator") or {}
    if not topology:
        return None
    fsdp, ddp = own.get("fsdp") or {}, own.get("ddp") or {}
    if topology.get("dp_shard", 1) != 1:
        told = {
            "version": 2,
            "reshard_after_forward": fsdp.get("reshard_after_forward"),
            "transformer_layer_cls_to_wrap": fsdp.get("wrap_modules"),
            "offload_params": fsdp.get("cpu_offload"),
            "auto_wrap_policy": "size" if fsdp.get("min_num_params") else "",
            "ignored_modules": fsdp.get("ignored_modules"),
            "sharding_strategy": "hybrid" if topology.get("dp_replicate", 1) > 1 else "",
        }
        return fsdp_sharing(told)
    return Sharing(
        strategy="ddp",
        find_unused_parameters=ddp.get("find_unused_parameters", True),
        gradient_as_bucket_view=ddp.get("gradient_as_bucket_view", False),
        unsupported="DDP's static_graph is not traced" if ddp.get("static_graph") else "",
    )


def fsdp_sharing(told: Mapping[str, Any]) -> Sharing:
    """Return what accelerate makes of FSDP's settings, as far as they are told, by its names for them."""
    given = {name.removeprefix("fsdp_"): value for name, value in told.items() if value not in (None, "")}
    wrapped = given.get("transformer_layer_cls_to_wrap") or given.get("transformer_cls_to_wrap") or ""
    classes = wrapped if isinstance(wrapped, list) else str(wrapped).split(",")
    names = tuple(name.strip() for name in classes if name.strip())
    return Sharing(
        strategy="fsdp",
        reshard_after_forward=is_on(given.get("reshard_after_forward", True)),
        wrap_modules=names,
        unsupported=_why_not(given, names),
    )


def _why_not(given: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return what of these settings is not traced, or nothing."""
    one_unit = "" if names else ", here the whole policy as one unit, as no class to wrap is named"
    reasons = {
        "accelerate's default is FSDP1, which gathers a unit's parameters in one tensor and is not traced"
        f"{one_unit}; FSDP2 is: --fsdp_version=2": str(given.get("version", 1)) != "2",
        "FSDP's offload keeps parameters in the host's memory, which actprof does not trace": (
            is_on(given.get("offload_params", False))
        ),
        "FSDP that wraps by size (min_num_params) is not traced; name classes of modules instead": (
            "size" in str(given.get("auto_wrap_policy", "")).lower()
        ),
        "FSDP that leaves modules out (ignored_modules) is not traced": bool(given.get("ignored_modules")),
        "FSDP's own activation checkpointing is not traced": is_on(
            given.get("activation_checkpointing", False)
        ),
        HYBRID: "hybrid" in str(given.get("sharding_strategy", "")).lower(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


HYBRID = (
    "sharding within groups of GPUs that each hold all parameters (HSDP) is not traced; FSDP over all GPUs, "
    "and DDP, are"
)


def is_on(value: Any) -> bool:
    """Tell whether a setting is on, as accelerate reads it; FSDP1's word for resharding is `FULL_SHARD`."""
    return str(value).lower() in ("1", "true", "yes", "y", "on", "t", "full_shard")


def cell_fields(own: Sharing | None, launched: Sharing, processes: int) -> dict[str, Any]:
    """Return the fields of the cell of one of so many processes; `own` is what lerobot's config says."""
    alone = processes == 1 and launched.strategy == "none"
    sharing = launched if own is None or launched.strategy == "fsdp" else own
    if alone and sharing.strategy != "fsdp":
        return {}
    fields = asdict(sharing)
    del fields["unsupported"]
    return {**fields, "world_size": processes}
