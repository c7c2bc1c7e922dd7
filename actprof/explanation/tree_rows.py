"""A module tree as rows to print: chains of one child collapsed, small ones summed, every level adding up."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.explanation.holders import ModuleNode

ITSELF = "(itself)"
_SMALL = 0.015  # of all: what is below it is summed up, unless a depth is asked for
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One row; those one level deeper that follow add up to it.

    Attributes:
        level: 0 beneath the root.
        label: the module's name, `encoder.layers` for a chain of one child; `(itself)` for what a module
            with children holds of its own; `5 others` for what is small.
        path: of the module; empty for rows that are no module.
        bytes, constant, per_sample: as in `ModuleNode`.
    """

    level: int
    label: str
    path: str
    bytes: int
    constant: int
    per_sample: int


def list_rows(root: ModuleNode, *, depth: int | None = None, most: int = 40) -> tuple[TreeRow, ...]:
    """Return the rows of all modules down to `depth` levels beneath the root, the largest first.

    A chain counts as one level. Without `depth` (at least 1) there are as many levels as `most` rows
    hold, and what is below 1.5 % of all is summed up.
    """
    if depth is not None:
        return tuple(_rows_beneath(root, 0, depth, 0))
    small = int(_SMALL * root.total_bytes)
    rows = _rows_beneath(root, 0, 1, small)
    for levels in range(2, _DEEPEST):
        deeper = _rows_beneath(root, 0, levels, small)
        if len(deeper) > most:
            break
        rows = deeper
    return tuple(rows)


def _rows_beneath(node: ModuleNode, level: int, depth: int, small: int) -> list[TreeRow]:
    rows: list[TreeRow] = []
    left: list[TreeRow] = []
    for entry, child in _entries(node, level):
        if entry.bytes < small:
            left.append(entry)
            continue
        rows.append(entry)
        if child is not None and child.children and level + 1 < depth:
            rows += _rows_beneath(child, level + 1, depth, small)
    if left and (rows or not level):
        rows.append(left[0] if len(left) == 1 else _summed(left, level))
    return rows


def _entries(node: ModuleNode, level: int) -> list[tuple[TreeRow, ModuleNode | None]]:
    """Return the children, and what the node holds of its own, the largest first."""
    entries: list[tuple[TreeRow, ModuleNode | None]] = []
    for child in node.children:
        label, end = end_of_chain(child)
        sizes = (end.total_bytes, end.constant, end.per_sample)
        entries.append((TreeRow(level, label, end.path, *sizes), end))
    if node.own_bytes:
        constant = node.constant - sum(child.constant for child in node.children)
        per_sample = node.per_sample - sum(child.per_sample for child in node.children)
        own = TreeRow(level, ITSELF, node.path, node.own_bytes, constant, per_sample)
        entries.append((own, None))
    return sorted(entries, key=lambda entry: -entry[0].bytes)


def end_of_chain(node: ModuleNode) -> tuple[str, ModuleNode]:
    """Return the module at the end of a chain of modules that hold nothing but one other, and its name."""
    label = node.name
    while len(node.children) == 1 and not node.own_bytes:
        node = node.children[0]
        label = f"{label}.{node.name}"
    return label, node


def _summed(rows: list[TreeRow], level: int) -> TreeRow:
    sizes = (sum(getattr(row, name) for row in rows) for name in ("bytes", "constant", "per_sample"))
    return TreeRow(level, f"{len(rows)} others", "", *sizes)
