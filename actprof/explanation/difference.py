"""The difference between two explained moments: by kind, by module and by op, largest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actprof.explanation.holders import ModuleNode
from actprof.explanation.moment import Holding


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Bytes that one name holds in both; `change_bytes` is the second less the first."""

    name: str
    first_bytes: int
    second_bytes: int
    change_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the second moment differs from the first; the largest change, up or down, comes first.

    Attributes:
        first_bytes, second_bytes: of the processes.
        by_kind: with what is reserved but not allocated and the context: adds up to the processes.
        by_module: by path; a module counts with those inside it, so these do not add up. Of modules that
            hold nothing but one other, only the innermost is there.
        by_op: adds up to the allocated bytes.
    """

    first_bytes: int
    second_bytes: int
    by_kind: tuple[Change, ...]
    by_module: tuple[Change, ...]
    by_op: tuple[Change, ...]


def difference(first: Holding, second: Holding) -> Difference:
    """Return what the second moment holds more (or less) than the first."""
    return Difference(
        first_bytes=first.process_bytes,
        second_bytes=second.process_bytes,
        by_kind=_compare(first.parts, second.parts),
        by_module=_compare(*_without_chains(_sizes(first.modules), _sizes(second.modules))),
        by_op=_compare(first.by_op, second.by_op),
    )


def _compare(first: Mapping[str, int], second: Mapping[str, int]) -> tuple[Change, ...]:
    changes = [
        Change(name=name, first_bytes=a, second_bytes=b, change_bytes=b - a)
        for name in {**first, **second}
        for a, b in [(first.get(name, 0), second.get(name, 0))]
    ]
    return tuple(sorted(changes, key=lambda change: -abs(change.change_bytes)))


def _sizes(root: ModuleNode) -> dict[str, int]:
    """Return the bytes of every node but the root, by path or, where it is no module, by name."""
    return {node.path or node.name: node.total_bytes for node in _beneath(root)}


def _beneath(node: ModuleNode) -> Iterator[ModuleNode]:
    for child in node.children:
        yield child
        yield from _beneath(child)


def _without_chains(first: dict[str, int], second: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Leave out every module that holds in both what one module inside it holds."""
    pairs = {name: (first.get(name, 0), second.get(name, 0)) for name in {**first, **second}}
    repeated = {
        parent
        for name, pair in pairs.items()
        if (parent := name.rpartition(".")[0]) and pairs.get(parent) == pair
    }
    return (
        {name: size for name, size in first.items() if name not in repeated},
        {name: size for name, size in second.items() if name not in repeated},
    )
