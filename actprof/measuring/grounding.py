"""A `Grounding`: what the real policy did on the CPU, with real tensors. A plain record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from actprof.cell import Cell
from actprof.errors import ActprofError
from actprof.policies.facts import PolicyFacts


class GroundingError(ActprofError):
    """A traced fact differs from what the real policy did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """One `update_policy` of one policy, resolution and camera count on the CPU.

    Attributes:
        encoder_tokens: length of the token sequence, read off the real encoder's input.
        output_shape: shape of the predicted action chunk without the batch dimension.
        parameters: elements of the policy's parameters.
        forward_seconds, backward_seconds, update_seconds: wall clock on the CPU.
        torch_threads: with which torch ran.
    """

    policy: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    cameras: int
    resolution: str
    batch_size: int
    encoder_tokens: int
    output_shape: tuple[int, ...]
    parameters: int
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    torch_threads: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        return {**asdict(self), "output_shape": list(self.output_shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a grounding from `to_json`."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**{**values, "output_shape": tuple(values["output_shape"])})


def check_grounding(grounding: Grounding, traced: PolicyFacts) -> None:
    """Compare what was traced with what the real policy did.

    Raises:
        GroundingError: token counts, output shapes or parameter counts differ; names both.
    """
    pairs = {
        "encoder tokens": (grounding.encoder_tokens, traced.encoder_tokens),
        "output shape": (tuple(grounding.output_shape), tuple(traced.output_shape)),
        "parameters": (grounding.parameters, traced.parameter_count),
    }
    for name, (real, predicted) in pairs.items():
        if real != predicted:
            raise GroundingError(
                f"{grounding.policy} at {grounding.resolution}, cameras: {grounding.cameras}: the real run "
                f"has {name} {real}, the trace {predicted}; please report this"
            )


def ground_task(cell: Cell) -> Grounding:
    """Run the cell's policy on the CPU."""
    from actprof.measuring.cpu import ground  # imports torch and lerobot

    return ground(cell)
