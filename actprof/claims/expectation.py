"""One expectation about cells: a quantity, what it should be, and who says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from actprof.cell import Cell
from actprof.claims.grammar import Expected
from actprof.claims.quantities import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What somebody expects of one quantity, in every one of some cells.

    Attributes:
        quantity: what it is about.
        expected: what it should be.
        cells: where.
        against: of a ratio, the cell that each of `cells` is divided by; else nothing.
        entry: number of the entry of `expect:` that it stands in; one entry is one claim.
        claim: the words of who says so; may be empty.
        source: where they said it; may be empty.
        scope: in words, which cells these are.
        own_gpu: whether the entry itself says which GPU or capacity; another GPU for the scenario leaves it.
    """

    quantity: Quantity
    expected: Expected
    cells: tuple[Cell, ...]
    against: tuple[Cell, ...] = ()
    entry: int = 0
    claim: str = ""
    source: str = ""
    scope: str = ""
    own_gpu: bool = False

    @property
    def name(self) -> str:
        """The quantity's name."""
        return self.quantity.name

    @property
    def label(self) -> str:
        """The quantity's name, and whether it is a ratio."""
        return f"ratio of {self.name}" if self.against else self.name

    def on_gpu(self, gpu: str) -> Self:
        """Return the same expectation on another GPU of the catalogue, unless it has its own."""
        if self.own_gpu:
            return self
        cells = [_moved(cell, gpu) for cell in self.cells]
        against = [_moved(cell, gpu) for cell in self.against]
        # Cells that differed in the GPU alone are now one.
        first = {cell.identity(): index for index, cell in reversed(list(enumerate(cells)))}
        kept = sorted(first.values())
        return replace(
            self,
            cells=tuple(cells[index] for index in kept),
            against=tuple(against[index] for index in kept if against),
        )


def expected_cells(expectations: Iterable[Expectation]) -> tuple[Cell, ...]:
    """Return every cell that some expectation is about, each once."""
    cells = {cell.identity(): cell for item in expectations for cell in (*item.cells, *item.against)}
    return tuple(cells.values())


def _moved(cell: Cell, gpu: str) -> Cell:
    return replace(cell, gpu=gpu, capacity_bytes=None)
