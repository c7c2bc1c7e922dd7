"""Which runs may be on which GPU at the same time. Pure logic.

A run shares a GPU when what it takes at most is known and is there. Whatever is not known to fit runs alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from actprof.hardware import Catalogue, LocalGpu
from actprof.measuring.choose_device import Choice
from actprof.results import Result, Verdict
from actprof.units import GIB

# Over the predicted bytes: while cuDNN tries its plans in the first step, the highest reserved bytes were up
# to 2.03 times the later ones (reports/accuracy/h100/cells.jsonl, `new-resnet50-640x480x2-b16-exp-bench`).
_WHILE_TRYING, _OTHERWISE = 2.5, 1.1
_BESIDE = GIB // 2  # what libraries take outside the allocator, the context apart
_FREE_SHARE = 0.97  # of what is free now, as others' memory moves


def most_bytes(predicted: Result | None, choice: Choice, catalogue: Catalogue) -> int | None:
    """Return what the process of a run takes of the GPU at most; None when it must have the GPU alone.

    Args:
        predicted: the run's prediction, None without one.
        choice: its GPU, and what PyTorch is held to there.
        catalogue: knows the GPU, and so its CUDA context.
    """
    if predicted is None or predicted.verdict != Verdict.FITS or choice.gpu is None:
        return None
    band = predicted.peak_reserved_band_bytes or (0, 0)
    reserved = max(band[1], predicted.available_bytes - predicted.headroom_bytes)
    reserved = int(reserved * (_WHILE_TRYING if predicted.cell.cudnn_benchmark else _OTHERWISE))
    if choice.cap_bytes is not None:
        reserved = min(reserved, choice.cap_bytes)
    return reserved + choice.gpu.as_card(catalogue).context_bytes + _BESIDE


class Cards:
    """What is running on which GPU."""

    def __init__(self) -> None:
        self._running: dict[tuple[int, str], list[int | None]] = {}

    def place(self, choices: Iterable[Choice], most: int | None) -> Choice | None:
        """Return which of `choices` has room for a run of `most` bytes now: the one with the fewest runs."""
        able = [choice for choice in choices if self._has_room(choice, most)]
        return min(able, key=lambda choice: len(self._on(choice)), default=None)

    def begin(self, choice: Choice, most: int | None) -> None:
        """Take the room of a run."""
        self._on(choice).append(most)

    def end(self, choice: Choice, most: int | None) -> None:
        """Give it back."""
        self._on(choice).remove(most)

    def _has_room(self, choice: Choice, most: int | None) -> bool:
        running = self._on(choice)
        if not running:
            return True
        if most is None or None in running or choice.gpu is None:
            return False
        taken = most + sum(bytes_ or 0 for bytes_ in running)
        return taken <= _FREE_SHARE * choice.gpu.free_bytes

    def _on(self, choice: Choice) -> list[int | None]:
        gpu = choice.gpu
        key = (-1, "") if gpu is None else (gpu.index, gpu.uuid)
        return self._running.setdefault(key, [])


def equal_gpus(choice: Choice, here: Iterable[LocalGpu]) -> list[LocalGpu]:
    """Return the other GPUs of the same make as the chosen one, that are about as free."""
    gpu = choice.gpu
    if gpu is None:
        return []
    make = (gpu.name, gpu.driver, gpu.total_bytes)
    return [
        other
        for other in here
        if (other.name, other.driver, other.total_bytes) == make
        and other.index != gpu.index
        and other.free_bytes >= _FREE_SHARE * gpu.free_bytes
    ]
