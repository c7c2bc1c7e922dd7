"""What to change so that a run fits: each remedy is traced again, replayed, and set beside the start.

Imports neither torch nor lerobot; a remedy whose trace is not cached yet is traced in worker processes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from actprof.advice.offer import Offer
from actprof.advice.remedies import offers
from actprof.advice.room import roomy_batch
from actprof.cell import Cell
from actprof.hardware import Catalogue, builtin_catalogue
from actprof.prediction.many import here_if_traced, predict_each
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import Workers, default_jobs
from actprof.progress import Listener, nobody
from actprof.records import to_plain
from actprof.results import Result, Verdict
from actprof.trace.cache import cached_trace

_RANK = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.OOM: 2}
# Of a run's memory, batch or speed: less is within what predictions are off by, and not worth a change.
_LEAST_EFFECT = 0.01
TRACING_SECONDS = 300.0
_LEAST_TRACED = 4  # remedies, however long one takes
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
    def does_something(self) -> bool:
        """Whether memory, largest batch or speed get better by a hundredth at least, or the verdict does.

        Memory is what tensors take. What lies unused between them shifts with any change: it counts for a
        remedy of the allocator alone.
        """
        before, after = self.before, self.after
        taken, takes = before.peak_allocated_bytes, after.peak_allocated_bytes
        if self.family == "allocator":
            taken, takes = before.peak_process_bytes, after.peak_process_bytes
        return (
            taken - takes >= _LEAST_EFFECT * taken
            or (self.boundary_gain or 0) > _LEAST_EFFECT * (before.max_batch_size or 0)
            or (self.speed_ratio or 1) >= 1 + _LEAST_EFFECT
            or _RANK[after.verdict] < _RANK.get(before.verdict, len(_RANK))
        )

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
    seconds: float = TRACING_SECONDS,
    catalogue: Catalogue | None = None,
    jobs: int | None = None,
    listener: Listener = nobody,
) -> tuple[Remedy, ...]:
    """Return what can be done about `cell`, the most useful first.

    First comes what makes it fit, then what makes it run at all; of each, what costs no speed, then what
    gives most room for its effort; and the best of each family before the others of that family. For a run
    that fits comes first what is fastest, and nothing that makes it smaller. What does next to nothing is
    left out.

    Args:
        cell: the run.
        target_batch: ask about this batch size instead of the cell's; it is then not made smaller.
        limit: so many remedies at most.
        names: of the remedies to look at; all if left out.
        seconds: trace for about so long, the cheapest remedies first; 0 for only what is traced already. What
            is left out is traced when it is asked again.
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
    roomy = None if before.verdict == Verdict.FITS else roomy_batch(before, catalogue=known)
    found = offers(cell, fitting=None if roomy is None else roomy.cell.batch_size)
    if target_batch is not None or before.verdict == Verdict.FITS:  # what fits is not made smaller
        found = tuple(offer for offer in found if offer.cell.step_samples == cell.step_samples)
    if names is not None:
        found = tuple(offer for offer in found if offer.name in names)
    found = _affordable(found, cell, seconds, jobs or default_jobs())
    results = predict_all([offer.cell for offer in found], known, Workers(jobs=jobs, listener=listener))
    remedies = [
        Remedy(**{f.name: getattr(offer, f.name) for f in fields(Offer)}, before=before, after=after)
        for offer, after in zip(found, results, strict=True)
        if after is not None
    ]
    useful = [remedy for remedy in remedies if remedy.does_something]
    if before.verdict == Verdict.FITS and target_batch is None:
        return tuple(sorted(useful, key=lambda remedy: -(remedy.speed_ratio or 0.0))[:limit])
    return tuple(rank(useful)[:limit])


def _affordable(found: Sequence[Offer], cell: Cell, seconds: float, jobs: int) -> tuple[Offer, ...]:
    """Return the first that `jobs` workers trace in `seconds`, if each takes as long as `cell` did."""
    trace = cached_trace(cell)
    each = trace.trace_seconds if trace else 0.0
    left = max(int(seconds * jobs / max(each, 1.0)), _LEAST_TRACED) if seconds else 0
    kept = []
    for offer in found:
        is_traced = cached_trace(offer.cell) is not None
        if is_traced or left:
            kept.append(offer)
            left -= not is_traced
    return tuple(kept)


def untraced(start: Result) -> tuple[Offer, ...]:
    """Return the remedies for a predicted run of which nothing is known until they are traced."""
    found = offers(start.cell)
    return tuple(offer for offer in found if cached_trace(offer.cell) is None)


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
    found = predict_each(cells, catalogue, here_if_traced(cells, workers))
    return [it if isinstance(it, Result) and it.verdict in _RANK else None for it in found]
