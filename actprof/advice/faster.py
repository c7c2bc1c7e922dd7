"""What a predicted step would gain by another host, another way of launching, and remedies that are traced.

The first two are variants of the step that was predicted (`StepWork.variants`), the others predictions of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from actprof.advice.first_aid import remedy_of
from actprof.advice.remedies import offers
from actprof.advice.suggest import Remedy
from actprof.hardware import Catalogue
from actprof.prediction.limits import variant_rates
from actprof.prediction.predict import predict_cell
from actprof.results import Result
from actprof.step_time.variants import COMPILED, DDP, FASTER_HOST, FUSED_LEFT, GRAPHS
from actprof.trace.cache import cached_trace

_TRIED = ("bf16", "channels_last")  # remedies that change a step's seconds more than its memory
_LEAST = 0.01  # of the samples per second: less is next to nothing
_NOTES = {
    FASTER_HOST: "the same step on a processor that launches in half the time",
    GRAPHS: "the same kernels, launched as one: torch.compile(mode='reduce-overhead') does it",
    DDP: "each with such a batch, gradients summed over NVLink or, slower, through the host's memory",
    COMPILED: "what it fuses is assumed to take {:.0%} to {:.0%} of its time".format(*FUSED_LEFT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Faster:
    """A change of a step.

    Attributes:
        title: what is done, in words.
        rates: samples per second with it, lowest and highest; the same where there is one figure.
        ratios: by those without it.
        note: what that rests on.
        flags: or variables that do it, of lerobot-train or, as `--change`, of every command here.
    """

    title: str
    rates: tuple[float, float]
    ratios: tuple[float, float]
    note: str = ""
    flags: str = ""

    @property
    def matters(self) -> bool:
        """Whether it may make a difference of a hundredth at least, for better or worse."""
        return max(abs(ratio - 1) for ratio in self.ratios) >= _LEAST


def faster(
    result: Result, *, remedy: Remedy | None = None, catalogue: Catalogue | None = None
) -> tuple[Faster, ...]:
    """Return what would change the samples per second of a predicted step, the fastest first.

    Nothing is traced for it. `remedy` is what helps first; it is told of where it is a larger batch.
    """
    base = result.samples_per_second
    if not base:
        return ()
    found = [
        Faster(title=name, rates=rates, ratios=(rates[0] / base, rates[1] / base), note=_NOTES.get(name, ""))
        for name, rates in variant_rates(result).items()
    ]
    larger = [remedy] if remedy and remedy.after.cell.batch_size > result.cell.batch_size else []
    for known in (*larger, *_traced(result, catalogue)):
        rate = known.after.samples_per_second
        if rate:
            how = " ".join([*(f"{k}={v}" for k, v in known.environment.items()), *known.flags])
            flags = how or f"--change {known.name}"
            found.append(
                Faster(title=known.title, rates=(rate, rate), ratios=(rate / base,) * 2, flags=flags)
            )
    return tuple(sorted(found, key=lambda change: -sum(change.rates)))


def _traced(result: Result, catalogue: Catalogue | None) -> Iterator[Remedy]:
    """Yield the remedies of `_TRIED` that concern the cell and whose traces are there."""
    for offer in offers(result.cell):
        if offer.name in _TRIED and cached_trace(offer.cell) is not None:
            yield remedy_of(offer, result, predict_cell(offer.cell, catalogue=catalogue))
