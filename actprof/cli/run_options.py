"""The options of `actprof predict`, `suggest` and `explain` that ask about a cell."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from actprof.scenario.cell import Cell

_NAMES = {
    "policy": "--policy",
    "overrides": "--set",
    "cameras": "--cameras",
    "resolution": "--resolution",
    "batch_size": "--batch-size",
    "state_dim": "--state-dim",
    "action_dim": "--action-dim",
    "optimizer": "--optimizer",
    "precision": "--precision",
    "alloc_conf": "--alloc-conf",
    "gpu": "--gpu",
    "capacity_bytes": "--capacity",
    "used_by_others_bytes": "--used-by-others",
    "changes": "--change",
}


def options_of(cell: Cell) -> list[str]:
    """Return the words that ask about `cell`; what is default is left out, but not the GPU."""
    default = Cell()
    words: list[str] = []
    for field in fields(Cell):
        value = getattr(cell, field.name)
        if field.name == "cudnn_benchmark":
            words += [] if value else ["--no-cudnn-benchmark"]
        elif value is not None and (field.name == "gpu" or value != getattr(default, field.name)):
            for text in _texts(field.name, value):
                words += [_NAMES[field.name], text]
    return words


def _texts(name: str, value: Any) -> list[str]:
    if name == "overrides":
        return [f"{key}={json.dumps(item)}" for key, item in value.items()]
    if name == "changes":
        return list(value)
    return [f"{value}B" if name.endswith("_bytes") else str(value)]
