"""What resizing at record time, image storage and torchcodec each bring: ratios of rows of one run.

A ratio divides the seconds per sample of one way of loading by those of another that differs in one thing
only, both without workers, warm and with the same batch size: above 1 it is so many times faster. They are
the medians that the rows show, so that a ratio is what a reader finds by dividing them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from actprof.loading.rows import IMAGES, PYAV, TORCHCODEC, VIDEO, LoaderResult, Source

RESIZED, STORED = "resizing at record time", "storing images"
CODEC, IN_LOADER = "torchcodec", "resizing in the loader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times faster one `change` (a name above) makes loading.

    The seconds are those of a sample, in the median.
    """

    change: str
    before: Source
    after: Source
    before_seconds: float
    after_seconds: float

    @property
    def times(self) -> float:
        """Return how many times faster it is; below 1 it is slower."""
        return self.before_seconds / self.after_seconds


def find_ratios(result: LoaderResult, *, batch_size: int | None = None) -> tuple[Ratio, ...]:
    """Return every ratio that the rows allow: by change, then in the order of the rows."""
    found = [
        _ratio(result, change, before, after, batch_size)
        for change, alter in _CHANGES
        for before, after in product(result.sources, repeat=2)
        if alter(before, after)
    ]
    return tuple(ratio for ratio in found if ratio is not None)


def _ratio(
    result: LoaderResult, change: str, before: Source, after: Source, batch_size: int | None
) -> Ratio | None:
    rows = (result.row(before, batch_size=batch_size), result.row(after, batch_size=batch_size))
    seconds = [row.sample_seconds if row is not None else None for row in rows]
    if not seconds[0] or not seconds[1]:
        return None
    return Ratio(
        change=change, before=before, after=after, before_seconds=seconds[0], after_seconds=seconds[1]
    )


def _is_resized(before: Source, after: Source) -> bool:
    same = replace(after, width=before.width, height=before.height) == before and not before.resize
    return before.storage == VIDEO and same and after.width * after.height < before.width * before.height


def _is_stored(before: Source, after: Source) -> bool:
    as_images = replace(before, storage=IMAGES, backend="")
    is_pyav = (before.storage, before.backend) == (VIDEO, PYAV)
    return is_pyav and replace(after, actions_alone=False) == as_images


def _is_torchcodec(before: Source, after: Source) -> bool:
    return before.backend == PYAV and after == replace(before, backend=TORCHCODEC)


def _is_in_loader(before: Source, after: Source) -> bool:
    return not before.resize and bool(after.resize) and replace(after, resize="") == before


_CHANGES: tuple[tuple[str, Callable[[Source, Source], bool]], ...] = (
    (RESIZED, _is_resized),
    (STORED, _is_stored),
    (CODEC, _is_torchcodec),
    (IN_LOADER, _is_in_loader),
)
