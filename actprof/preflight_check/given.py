"""What the user tells preflight beside the command."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("cameras", "resolution", "state_dim", "action_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Options of `actprof.preflight` of the same names; None: not given."""

    gpu: str | None = None
    capacity: str | None = None
    used_by_others: str | None = None
    cameras: int | None = None
    resolution: str | None = None
    state_dim: int | None = None
    action_dim: int | None = None
    load_seconds: float | None = None
    price_per_hour: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the dataset need be known."""
        return None not in (getattr(self, name) for name in SHAPES)
