"""An `Offer`: one remedy for one cell, before anybody knows what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actprof.cell import Cell
from actprof.policies.changes import LOSSLESS

NUMERICS = "changes the numerics"
INPUT = "changes the input"
TRAINING = "changes the training"
MODEL = "changes the model"
KINDS = (LOSSLESS, NUMERICS, INPUT, TRAINING, MODEL)

# The cheapest change first.
ENVIRONMENT, FLAG, DATA, CODE = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A remedy for one cell.

    Attributes:
        name: of the remedy (`resize_224x224`).
        title: what is done, in words.
        family: remedies of one family stand for each other; a combination has at most one.
        kind: one of `KINDS`; a lossless one computes the same up to rounding.
        cost: what the change itself takes: `ENVIRONMENT`, `FLAG`, `DATA` or `CODE`.
        burden: what it takes from the training: 1 nothing, up to 4 a whole camera.
        cell: the cell with the remedy.
        flags: for `lerobot-train`.
        environment: variables to set.
        code: lines of Python, the very ones that a cell with this change runs.
        note: what else there is to know.
    """

    name: str
    title: str
    family: str
    kind: str
    cost: int
    cell: Cell
    burden: float = 1.0
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    note: str = ""

    @property
    def effort(self) -> float:
        """Cost times burden: what a search wants little of."""
        return self.cost * self.burden
