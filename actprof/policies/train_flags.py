"""The flags of `lerobot-train`, as lerobot's config classes have them: types, and which ones checks read."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actprof.quiet import quiet_imports

SIMPLE = {int: "int", float: "float", bool: "bool", str: "str", Path: "Path"}


def policy_class(policy: str) -> Any:
    """Return lerobot's config class of a policy."""
    with quiet_imports():
        import lerobot.policies  # noqa: F401 - registers the policies
        from lerobot.configs.policies import PreTrainedConfig
    return PreTrainedConfig.get_choice_class(policy)


def known_flags(policy_class: type[Any]) -> dict[str, str]:
    """Return each flag of a simple type with that type."""
    from lerobot.configs.train import TrainPipelineConfig

    return dict([*_simple_fields(TrainPipelineConfig, ""), *_simple_fields(policy_class, "policy.")])


def checked_flags(policy_class: type[Any]) -> list[str]:
    """Return the flags that the policy's own `__post_init__` reads, and may refuse."""
    from lerobot.configs.policies import PreTrainedConfig

    own = policy_class.__mro__[: policy_class.__mro__.index(PreTrainedConfig)]
    checks = [vars(base)["__post_init__"].__code__ for base in own if "__post_init__" in vars(base)]
    read = {name for code in checks for name in _names(code)}
    return sorted(f"policy.{name}" for name in read & set(policy_class.__dataclass_fields__))


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that a function reads, and the functions inside it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


def _simple_fields(kind: type[Any], prefix: str) -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if "ChoiceRegistry" not in {base.__name__ for base in hint.__mro__}:
                yield from _simple_fields(hint, f"{prefix}{item.name}.")
        elif item.init and (name := _simple_type(hint)):
            yield f"{prefix}{item.name}", name


def _simple_type(hint: Any) -> str:
    if hint in SIMPLE:
        return SIMPLE[hint]
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return ""
    inside = [part for part in typing.get_args(hint) if part is not types.NoneType]
    name = SIMPLE.get(inside[0]) if len(inside) == 1 else None
    return f"{name}?" if name else ""
