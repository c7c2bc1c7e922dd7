"""Parameter-efficient fine-tuning (`--peft.*`): lerobot's own adapters around a policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from actprof.errors import UsageError, did_you_mean

# What peft puts before the path of every module and parameter of the policy that it wraps.
_PREFIX = "base_model.model."
# lerobot asks for a pretrained policy, whose path it only writes down.
_PRETENDED = "pretrained"


def with_adapter(policy: Any, fields: Mapping[str, Any]) -> Any:
    """Return `policy` with an adapter of lerobot's `PeftConfig` in it; all else is frozen.

    Raises:
        UsageError: a field that `PeftConfig` does not have.
        ValueError: lerobot refuses the adapter.
    """
    from lerobot.configs.default import PeftConfig

    known = [item.name for item in dataclasses.fields(PeftConfig)]
    if unknown := [name for name in fields if name not in known]:
        hint = did_you_mean(unknown[0], *known) or f"it has {', '.join(known)}"
        raise UsageError(f"lerobot's PeftConfig has no field {unknown[0]!r}; {hint}")
    before = policy.config.pretrained_path
    policy.config.pretrained_path = before or _PRETENDED
    try:
        return policy.wrap_with_peft(peft_cli_overrides=dataclasses.asdict(PeftConfig(**fields)))
    finally:
        policy.config.pretrained_path = before


def own_path(path: str) -> str:
    """Return the path of a module or parameter in the policy itself, whether an adapter wraps it or not."""
    return path.removeprefix(_PREFIX)


def own_modules(policy: Any) -> dict[str, Any]:
    """Return the modules of a policy by their path in it; of one that an adapter wraps, its own too."""
    named = dict(policy.named_modules())
    return {own_path(path): module for path, module in named.items()} | {"": named.get(_PREFIX[:-1], policy)}
