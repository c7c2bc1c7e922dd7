"""What the user tells preflight beside the command."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("cameras", "resolution", "state_dim", "action_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command itself does not say; None: not given.

    Attributes:
        gpu: the card that it is to run on; that of `--job.target`, else the one in this machine as it is now,
            if left out.
        capacity: its memory, like `23.69GiB`.
        used_by_others: what other programs hold of a card that is not here.
        cameras: how many, where the dataset's metadata is not at hand or others are meant.
        resolution: of each of them.
        state_dim: length of the robot's state, likewise.
        action_dim: length of one action, likewise.
        load_seconds: from one batch to the next, as `measure_loader` finds; loading is left out otherwise.
        price_per_hour: dollars, of the machine; that of `--job.target` if left out.
    """

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
