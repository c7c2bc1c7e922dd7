"""What to change so that a run fits: each remedy is traced again, replayed, and set beside the start.

Imports neither torch nor lerobot; a remedy whose trace is not cached yet is traced in worker processes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from actprof.advice.remedies import Offer, offers
from actprof.cell import Cell
from actprof.hardware import Catalogue, builtin_catalogue
from actprof.prediction.many import Answer, Predictions, here_if_traced
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import Workers
from actprof.progress import Listener, nobody
from actprof.records import to_plain
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace, usable_cache

_RANK = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.OOM: 2}
_SAME_WORK = 1.02  # FLOPs per sample, as a ratio to the start, up to which a remedy costs no speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy(Offer):
    """A remedy and what it does: `before` and `after` are predictions of the cell without and with it."""

    before: Result
    after: Result

    @property
    def saved_bytes(self) -> int:
        """How much less the process takes at its peak."""
        return self.before.peak_process_bytes - self.after.peak_process_bytes

    @property
    def boundary_gain(self) -> int | None:
        """How many more samples fit into a batch; None when not known."""
        if self.before.max_batch_size is None or self.after.max_batch_size is None:
            return None
        return self.after.max_batch_size - self.before.max_batch_size

    @property
    def flops_ratio(self) -> float:
        """FLOPs per sample with the remedy by those without; 1 when not known."""
        before = self.before.flops_per_sample
        return self.after.flops_per_sample / before if before else 1.0

    @property
    def speed_ratio(self) -> float | None:
        """Predicted samples per second with the remedy by those without; None when not known."""
        before, after = self.before.samples_per_second, self.after.samples_per_second
        return after / before if before and after else None

    @property
    def encoder_tokens(self) -> int:
        """Length of the main encoder's token sequence with the remedy."""
        return self.after.encoder_tokens

    @property
    def room(self) -> float:
        """By what factor the batch could grow further than without the remedy."""
        return _room(self.after) / _room(self.before)

    @property
    def score(self) -> float:
        """What it gives by what it takes: the logarithm of `room` by the effort."""
        return math.log(max(self.room, 1e-9)) / self.effort

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values, curves left out."""
        own = {f.name: to_plain(getattr(self, f.name)) for f in fields(Offer) if f.name != "cell"}
        return {
            **own,
            "saved_bytes": self.saved_bytes,
            "boundary_gain": self.boundary_gain,
            "flops_ratio": self.flops_ratio,
            "speed_ratio": self.speed_ratio,
            "before": self.before.to_json(curve=False),
            "after": self.after.to_json(curve=False),
        }


def _room(result: Result) -> float:
    largest = result.max_batch_size
    if largest is None:  # one batch size was traced: what the card has by what the run takes
        return result.gpu.capacity_bytes / max(result.peak_process_bytes, 1)
    return max(largest, 0.5) / result.cell.batch_size


def suggest(  # noqa: PLR0913 - the options of a command
    cell: Cell,
    *,
    target_batch: int | None = None,
    limit: int | None = None,
    names: Collection[str] | None = None,
    only_cached: bool = False,
    catalogue: Catalogue | None = None,
    jobs: int | None = None,
    listener: Listener = nobody,
) -> tuple[Remedy, ...]:
    """Return what can be done about `cell`, the most useful first.

    First comes what makes it fit, then what makes it run at all; of each, what costs no speed, then what
    gives most room for its effort; and the best of each family before the others of that family.

    Args:
        cell: the run.
        target_batch: ask about this batch size instead of the cell's; it is then not made smaller.
        limit: so many remedies at most.
        names: of the remedies to look at; all if left out.
        only_cached: leave out what would have to be traced.
        catalogue: the GPUs that the cell may name; the shipped ones if left out.
        jobs: worker processes for tracing; one for each core if left out.
        listener: told about the progress.

    Raises:
        UsageError: a cell that cannot be.
    """
    known = catalogue or builtin_catalogue()
    if target_batch is not None:
        cell = replace(cell, batch_size=target_batch)
    before = predict_cell(cell, catalogue=known)
    found = offers(cell, largest=before.max_batch_size)
    if target_batch is not None:
        found = tuple(offer for offer in found if offer.cell.batch_size == target_batch)
    if names is not None:
        found = tuple(offer for offer in found if offer.name in names)
    if only_cached:
        found = tuple(offer for offer in found if cached_trace(offer.cell) is not None)
    results = predict_all([offer.cell for offer in found], known, Workers(jobs=jobs, listener=listener))
    remedies = [
        Remedy(**{f.name: getattr(offer, f.name) for f in fields(Offer)}, before=before, after=after)
        for offer, after in zip(found, results, strict=True)
        if after is not None
    ]
    return tuple(rank(remedies)[:limit])


def rank(remedies: Iterable[Remedy]) -> list[Remedy]:
    """Return the remedies, the most useful first; see `suggest`."""

    def usefulness(remedy: Remedy) -> tuple[float, ...]:
        helps = remedy.score > 0 or remedy.after.verdict != remedy.before.verdict
        return (
            not helps, _RANK[remedy.after.verdict], remedy.flops_ratio > _SAME_WORK, -remedy.score,
        )  # fmt: skip

    ordered = sorted(remedies, key=usefulness)
    seen: dict[str, int] = {}
    rounds = []
    for remedy in ordered:
        seen[remedy.family] = seen.get(remedy.family, 0) + 1
        rounds.append((usefulness(remedy)[:2], seen[remedy.family]))
    return [remedy for _key, remedy in sorted(zip(rounds, ordered, strict=True), key=lambda pair: pair[0])]


def predict_all(cells: Sequence[Cell], catalogue: Catalogue, workers: Workers) -> list[Result | None]:
    """Return the prediction of each cell; None for one that cannot be traced or that lerobot refuses."""
    answers: dict[str, Answer] = {}

    def note(cell: Cell, answer: Answer) -> None:
        answers[cell.identity()] = answer

    with usable_cache():
        predictions = Predictions(cells, catalogue, note)
        with here_if_traced(cells, workers).tasks(predictions.tasks) as tasks:
            predictions.run(tasks)
    found = [answers[cell.identity()] for cell in cells]
    return [it if isinstance(it, Result) and it.verdict in _RANK else None for it in found]
