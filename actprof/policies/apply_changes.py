"""Make the changes that a cell names: of the policy before its optimizer is built, then of the optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import torch

from actprof.errors import UsageError
from actprof.policies.changes import find_change, read_change
from actprof.policies.spec import PolicySpec


def change_policy(
    policy: Any, names: Iterable[str], *, spec: PolicySpec, backward: Callable[[Any], None]
) -> None:
    """Make the changes of `names` that concern the policy, on its device, before its optimizer is built.

    `backward` computes the gradients of a part of the batch.

    Raises:
        UsageError: a change does not fit the policy.
    """
    for name in names:
        change = find_change(name, spec.parts, spec.name)
        if change.on == "policy":
            given = {"place": change.place(spec.parts), "backward": backward}
            try:
                _make(name, policy, given)
            except AttributeError as error:
                raise UsageError(f"{name} does not fit this policy: {error}; leave it out") from error


def change_optimizer(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> None:
    """Make the changes of `names` that concern the optimizer, before its first step.

    Raises:
        UsageError: the optimizer has no implementation of that kind.
    """
    for name in names:
        change = read_change(name)
        if change.on == "optimizer":
            if change.needs and change.needs not in optimizer.defaults:
                kind = type(optimizer).__name__
                raise UsageError(f"{kind} has no {change.needs} implementation; leave out {name}")
            _make(name, optimizer, {})


def _make(name: str, changed: Any, given: dict[str, Any]) -> None:
    """Call the function of a change with those of the `given` arguments that it takes."""
    function = getattr(import_module(f"actprof.policies.changes.{name}"), name)
    wanted = inspect.signature(function).parameters
    function(changed, **{key: value for key, value in given.items() if key in wanted})
