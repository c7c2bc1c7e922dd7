"""From a `Cell` to a live training step: the only package that imports lerobot.

A policy is one module here, named as lerobot names the policy, with a `PolicySpec` named `SPEC`, and its line
in `_POLICIES`. Importing this package is cheap; lerobot and torch are imported when the first workload is
built.
"""

from __future__ import annotations

import importlib

from actprof.errors import UsageError, did_you_mean
from actprof.policies.spec import PolicySpec
from actprof.policies.untraced import UNTRACED

_POLICIES = (
    "act",
    "diffusion",
    "eo1",
    "evo1",
    "fastwam",
    "groot",
    "multi_task_dit",
    "pi0",
    "pi05",
    "pi0_fast",
    "smolvla",
    "tdmpc",
    "vla_jepa",
    "vqbet",
    "xvla",
)


def policy_names() -> tuple[str, ...]:
    """Return the names of the policies that can be profiled, sorted."""
    return tuple(sorted(_POLICIES))


def policy_spec(name: str) -> PolicySpec:
    """Return what actprof must know of the policy that lerobot calls `name`.

    Raises:
        UsageError: it is not traced; says why, or names the nearest.
    """
    if name in UNTRACED:
        raise UsageError(f"actprof does not trace {name}: {UNTRACED[name]}")
    if name not in _POLICIES:
        hint = did_you_mean(name, *_POLICIES, most=1) or f"known: {', '.join(policy_names())}"
        raise UsageError(f"{name!r} is not a policy that actprof knows; {hint}")
    spec: PolicySpec = importlib.import_module(f"{__name__}.{name}").SPEC
    return spec


def policy_title(name: str) -> str:
    """Return what people call the policy that lerobot calls `name`; that name where nobody knows it."""
    return policy_spec(name).title if name in _POLICIES else name


def tokens_called(name: str) -> str:
    """Return what the tokens are that the policy called `name` is said to read, like `encoder tokens`."""
    return policy_spec(name).tokens_called if name in _POLICIES else "tokens"
