"""The `Report`: everything a page is made of, as one frozen record.

Needs no torch, lerobot or pydantic. Whatever has the attributes of `Grounding` can be shown as a CPU run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actprof.results import Result


class Grounding(Protocol):
    """One training step of the real policy on the CPU, with real tensors."""

    @property
    def policy(self) -> str:
        """Lerobot's name of the policy."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        """Fields of the policy's config that differ from their defaults."""

    @property
    def cameras(self) -> int:
        """Number of cameras."""

    @property
    def resolution(self) -> str:
        """`WIDTHxHEIGHT` in pixels."""

    @property
    def batch_size(self) -> int:
        """Samples of the step."""

    @property
    def encoder_tokens(self) -> int:
        """Length of the sequence that the real encoder was given."""

    @property
    def output_shape(self) -> Sequence[int]:
        """Shape of the policy's output."""

    @property
    def forward_seconds(self) -> float:
        """CPU seconds of the forward pass."""

    @property
    def backward_seconds(self) -> float:
        """CPU seconds of the backward pass."""

    @property
    def update_seconds(self) -> float:
        """CPU seconds of the whole `update_policy`."""

    @property
    def torch_threads(self) -> int:
        """Threads that PyTorch used."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to put on the page.

    Attributes:
        name: of the scenario; the heading of the page.
        question: what the scenario asks, in the words of its file; may be empty.
        results: one per cell, in any order; all that is said is computed from them.
        groundings: CPU runs to show beside the predictions.
        command: what repeats the numbers, one command per line.
        created: ISO 8601 time.
        versions: of what wrote the report; each result has its own.
    """

    name: str
    question: str = ""
    results: tuple[Result, ...] = ()
    groundings: tuple[Grounding, ...] = ()
    command: str = ""
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
