"""Numbers that grow with the batch size: `(constant + per_sample * batch_size) / divisor`, each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Growing:
    """A form and its numbers as functions of the batch size.

    The divisor is more than one where a batch goes through the policy in parts.
    """

    form: tuple[Any, ...]
    constant: tuple[int, ...]
    per_sample: tuple[int, ...]
    divisor: int = 1

    def numbers_at(self, batch_size: int) -> tuple[int, ...]:
        """Return the numbers at `batch_size`, in a row."""
        pairs = zip(self.constant, self.per_sample, strict=True)
        return tuple((constant + each * batch_size) // self.divisor for constant, each in pairs)
