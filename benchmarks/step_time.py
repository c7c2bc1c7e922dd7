"""Print predicted step times beside measured and published ones, and how many kernels a step has.

    python benchmarks/step_time.py [--write]

Profiles first: the device's time and the kernels of `update_policy`. Then every row of the accuracy ledger
with a step time, by what takes longer in it, device or host. Rows that helped to fit a constant are marked
and count for nothing: `FITTED` says which they are and for what. With `--write` the residuals of the others
go to `actprof/step_time/residuals.toml`, which the band rests on.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from profiles import OWN, ROOT, SHARED, read_profile

from actprof.ledger.keep import predict_row, read_rows
from actprof.ledger.row import AccuracyRow
from actprof.step_time.band import known_steps, step_band

LEDGER = ROOT / "reports" / "accuracy"
RESIDUALS = ROOT / "actprof" / "step_time" / "residuals.toml"
# Rows that a constant was fitted to, by GPU, policy, batch size, precision and milliseconds, and which.
FITTED = {
    ("H100 80 GB", "act", 8, "fp32", 45): "the default host: what a kernel costs in each phase",
    ("H100 80 GB", "smolvla", 8, "fp32", 167): "the same",
    ("H100 80 GB", "act", 32, "fp16", 96): "convolutions in half precision",
    ("H100 80 GB", "act", 32, "bf16", 104): "the same",
    ("T4", "act", 8, "fp32", 608): "the card's clock under load",
    ("T4", "act", 16, "fp32", 969): "the same",
    ("T4", "act", 32, "fp32", 1911): "the same",
}


@dataclass(frozen=True, slots=True)
class Scored:
    """A row of the ledger with a step time: predicted and measured seconds."""

    row: AccuracyRow
    predicted: float
    host_bound: bool
    low: float
    high: float

    @property
    def measured(self) -> float:
        """Seconds."""
        return self.row.measured.step_seconds or math.nan

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured

    @property
    def card(self) -> str:
        """The card of the catalogue."""
        return self.row.cell.gpu or self.row.gpu

    @property
    def fitted(self) -> str:
        """The constant that the row helped to fit, if any."""
        cell = self.row.cell
        precision = "fp16" if cell.overrides.get("use_amp") else cell.precision
        milliseconds = round(self.measured * 1e3)
        return FITTED.get((self.card, cell.policy, cell.batch_size, precision, milliseconds), "")


def main() -> None:
    """Print both tables, and what they come to."""
    print_profiles()
    scored = [score(row) for row in read_rows(LEDGER) if row.measured.step_seconds]
    print_rows(scored)
    print_sums(scored)
    if "--write" in sys.argv[1:]:
        RESIDUALS.write_text(residuals_of(scored), encoding="utf-8")
        known_steps.cache_clear()


def score(row: AccuracyRow) -> Scored:
    """Predict the row's step."""
    result = predict_row(row)
    seconds = result.step_seconds
    if seconds is None:
        raise SystemExit(f"{row.name} has no predicted step time: {result.reason}")
    return Scored(row, seconds.median, result.limited_by == "launches", seconds.low, seconds.high)


def print_profiles() -> None:
    """Print a line for each profile."""
    print("| profile | device ms, predicted | recorded | | kernels, predicted | recorded | | |")
    print("|---|---|---|---|---|---|---|---|")
    for path in (*SHARED, *OWN):
        found = read_profile(path)
        mine, theirs = found.step.played.device_seconds * 1e3, found.device_seconds * 1e3
        launches, seen = len(found.step.kernels), len(found.device)
        use = "fitted" if path in SHARED else "not fitted"
        print(
            f"| {found.name} | {mine:.1f} | {theirs:.1f} | {mine / theirs - 1:+.1%} "
            f"| {launches:,} | {seen:,} | {launches / seen - 1:+.1%} | {use} |"
        )


def print_rows(scored: Sequence[Scored]) -> None:
    """Print a line for each row."""
    print("\n| run | ms, predicted | measured | | band | |")
    print("|---|---|---|---|---|---|")
    for one in sorted(scored, key=lambda one: (one.row.origin, one.host_bound, one.card, one.measured)):
        inside = "" if one.low <= one.measured <= one.high else ", outside"
        kind = "host" if one.host_bound else "device"
        why = f"fitted: {one.fitted}" if one.fitted else f"{one.row.origin}, {kind}"
        print(
            f"| {one.row.name} | {one.predicted * 1e3:.1f} | {one.measured * 1e3:.1f} | {one.ratio - 1:+.1%} "
            f"| {one.low * 1e3:.0f} to {one.high * 1e3:.0f}{inside} | {why} |"
        )


def print_sums(scored: Sequence[Scored]) -> None:
    """Print what the rows come to that fitted nothing, and the same with each card left out of its band."""
    tests = [one for one in scored if not one.fitted]
    measured = [one for one in tests if one.row.origin == "measured"]
    published = [one for one in tests if one.row.origin == "published"]
    on_device = [one for one in measured if not one.host_bound]
    on_host = [one for one in measured if one.host_bound]
    print(f"\nmeasured, device-bound: {errors(on_device)}")
    inside = sum(one.low <= one.measured <= one.high for one in on_host)
    print(f"measured, host-bound: {inside} of {len(on_host)} inside the band; {errors(on_host)}")
    print(f"published: {errors(published)}")
    for host_bound in (False, True):
        cards = by_card(one for one in tests if one.host_bound == host_bound)
        means = {card: math.exp(fmean(map(math.log, ratios))) for card, ratios in cards.items()}
        told = ", ".join(f"{card} {ratio:.2f}" for card, ratio in sorted(means.items()))
        print(f"predicted over measured by card, {'host' if host_bound else 'device'}-bound: {told}")
    held = [one for one in tests if inside_without_its_card(one)]
    print(f"inside the band that the other cards make: {len(held)} of {len(tests)}")


def errors(scored: Iterable[Scored]) -> str:
    """Return median and worst of the differences without sign."""
    found = sorted(abs(one.ratio - 1) for one in scored)
    return (
        f"{median(found):.1%} in the median, {found[-1]:.1%} at worst, of {len(found)}" if found else "none"
    )


def by_card(scored: Iterable[Scored]) -> dict[str, list[float]]:
    """Return predicted over measured seconds of each card's rows."""
    cards: defaultdict[str, list[float]] = defaultdict(list)
    for one in scored:
        cards[one.card].append(one.ratio)
    return cards


def inside_without_its_card(one: Scored) -> bool:
    """Tell whether the row lies in the band that is drawn from the rows of all other cards."""
    others = [step for step in known_steps() if step.gpu != one.card]
    band = step_band(one.card, host_bound=one.host_bound, evidence=others)
    return band.low <= one.measured / one.predicted <= band.high


def residuals_of(scored: Sequence[Scored]) -> str:
    """Return the text of `residuals.toml`: measured over predicted seconds of what fitted nothing."""
    lines = [
        "# Measured over predicted seconds of the ledger's rows that fitted no constant, by what is slower."
    ]
    lines.append("# Written by `python benchmarks/step_time.py --write`.")
    for kind in ("device", "host"):
        lines += ["", f"[{kind}]"]
        chosen = [one for one in scored if not one.fitted and one.host_bound == (kind == "host")]
        for card, ratios in sorted(by_card(chosen).items()):
            numbers = ", ".join(f"{1 / ratio:.3f}" for ratio in sorted(ratios, reverse=True))
            lines.append(f'"{card}" = [{numbers}]')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
