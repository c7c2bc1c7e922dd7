"""Why the limits lie where they do, in sentences: allocator settings, tokens, and who holds the memory.

Plain text, not escaped; each function returns nothing where nothing can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from actprof.policies import policy_spec
from actprof.policies.facts import find_component
from actprof.prediction.attribution import ACTIVATIONS, MAPS, largest_first, rank_holders
from actprof.report.arrange import BatchSeries, Setup
from actprof.results import MOST_BATCH_SIZE, Breakdown, Result, Verdict
from actprof.words import capital, cell_text, gib, join, limit_text, percent, plural, times, views_text

_JUDGED = {Verdict.FITS, Verdict.TIGHT, Verdict.OOM}


def say_allocators(setups: Sequence[Setup]) -> list[tuple[str, tuple[str, ...]]]:
    """Return (heading, sentences) for each allocator setting beside the first: what it changes."""
    first, *others = sorted({conf for setup in setups for conf in setup.alloc_confs}) or [""]
    against = f", against {first}" if first else ""
    said = [(conf, _say_allocator(setups, conf, first)) for conf in others]
    return [(f"What {conf.removesuffix(':True')} changes{against}", text) for conf, text in said]


def say_tokens(setup: Setup) -> tuple[str, ...]:
    """Return how many tokens the policy reads, and what fewer of them do to the limit."""
    ends = token_ends(setup)
    if ends is None:
        return ()
    most, least = ends
    called = policy_spec(setup.results[0].cell.policy).tokens_called
    if most.tokens == least.tokens:
        return (f"{_say_count(most)} {called if most.tokens > 1 else called.removesuffix('s')}.",)
    return _say_contrast(most, least, called)


def say_holders(setup: Setup) -> tuple[str, ...]:
    """Return who holds the memory on either side of the limit of the setup's focus."""
    line = setup.focus
    if line is None:
        return ()
    return tuple(said for result in line.around_limit if (said := _say_holder(result)))


def _say_allocator(setups: Sequence[Setup], conf: str, first: str) -> tuple[str, ...]:
    lines = [(setup, line) for setup in setups for line in setup.lines if line.alloc_conf == conf]
    found = [(setup.line(line.resolution, line.cameras, first), line) for setup, line in lines]
    pairs = [(base, line) for base, line in found if base is not None]
    known = [(a.limit, b.limit, b) for a, b in pairs if a.limit is not None and b.limit is not None]
    return tuple(filter(None, (_say_gains(known), _say_flips(pairs))))


def _say_gains(known: Sequence[tuple[int, int, BatchSeries]]) -> str:
    """Return how the limits move, each from the first to the second number."""
    moves = [after - before for before, after, _ in known]
    said = [_say_moved("raises", [m for m in moves if m > 0], len(moves))]
    said += [_say_moved("lowers", [-m for m in moves if m < 0], len(moves))]
    if not any(said):
        return "It moves no limit." if known else ""
    before, after, line = max(known, key=lambda limits: (limits[1] - limits[0]) / max(limits[0], 1))
    best = ""
    if after > before > 0:
        views = views_text(line.cameras, line.resolution)
        share = percent(after - before, before)
        best = f"; the largest gain is at {views}, from {before} to {after} (+{share})"
    return f"It {join(text for text in said if text)}{best}."


def _say_moved(verb: str, sizes: Sequence[int], count: int) -> str:
    if not sizes:
        return ""
    which = f"all {count} limits" if len(sizes) == count else f"{len(sizes)} of {count} limits"
    low, high = min(sizes), max(sizes)
    span = str(low) if low == high else f"{low} to {high}"
    return f"{verb} {'the limit' if count == 1 else which} by {span} {plural(high, 'sample')}"


def _say_flips(pairs: Sequence[tuple[BatchSeries, BatchSeries]]) -> str:
    both = [
        (before, after)
        for base, line in pairs
        for before, after in product(base.results, line.results)
        if before.cell.batch_size == after.cell.batch_size and {before.verdict, after.verdict} <= _JUDGED
    ]
    if not both:
        return ""
    saved = sum(after.runs and before.verdict == Verdict.OOM for before, after in both)
    lost = sum(before.runs and after.verdict == Verdict.OOM for before, after in both)
    verb = "get through" if saved > 1 else "gets through"
    tried = f"the {len(both)} {plural(len(both), 'run')} tried both ways"
    said = f"Of {tried}, {saved or 'none'} {verb} only with it"
    return f"{said}, {lost} only without it." if lost else f"{said}."


def token_ends(setup: Setup) -> tuple[BatchSeries, BatchSeries] | None:
    """Return the lines with most and fewest tokens, with the focus's cameras if those differ at all."""
    lines = [line for line in setup.lines if line.tokens and line.alloc_conf == setup.alloc_confs[0]]
    lines = [line for line in lines if line.cameras] or lines  # what no image does, fewer of them do not
    cameras = setup.focus.cameras if setup.focus else 0
    same = [line for line in lines if line.cameras == cameras]
    if len({line.tokens for line in same}) < 2:
        same = lines
    if not same:
        return None
    return max(same, key=lambda line: line.tokens), min(same, key=lambda line: line.tokens)


def _say_count(line: BatchSeries) -> str:
    verb = "makes" if line.cameras == 1 else "make"
    return f"{capital(views_text(line.cameras, line.resolution))} {verb} {line.tokens}"


def _say_contrast(most: BatchSeries, least: BatchSeries, called: str) -> tuple[str, ...]:
    ratio = most.tokens / least.tokens
    spec = policy_spec(most.results[0].cell.policy)
    reader = find_component(spec.token_module, spec.components) or spec.other_component
    held = [r.breakdown.activations.get(reader, {}) for r in most.results if r.breakdown]
    maps = any(MAPS in groups for groups in held)
    square = f", and {times(ratio**2)} fewer entries in every attention map of the {reader}" if maps else ""
    said = (
        f"{_say_count(most)} {called}, {views_text(least.cameras, least.resolution)} {least.tokens}: "
        f"{times(ratio)} fewer{square}."
    )
    before, after = most.limit, least.limit
    if not before or not after:
        return (said,)
    gain = after / before
    effect = (
        f"The largest batch goes from {limit_text(before)} to {limit_text(after)}, {times(gain)} as large"
    )
    return said, effect + _explain(gain, ratio, capped=after >= MOST_BATCH_SIZE)


def _explain(gain: float, ratio: float, *, capped: bool) -> str:
    # Below a factor of two the number of tokens and its square are too close together to tell.
    if capped or ratio < 2 or not 0.67 < gain / ratio < 1.5:
        return "."
    return ": the limit follows the number of tokens, not its square."


def _say_holder(result: Result) -> str:
    held = result.breakdown
    if held is None or not held.allocated_bytes:
        return ""
    total = held.allocated_bytes
    moment = "At the peak of" if result.runs else "When memory runs out in"
    said = f"{moment} {cell_text(result.cell)} ({held.phase} phase), {gib(total)} GiB are allocated: "
    said += f"{_say_kinds(held, total)}."
    maps = sum(group.get(MAPS, 0) for group in held.activations.values())
    return f"{said} All attention maps together are {percent(maps, total)} of it." if maps else said


def _say_kinds(held: Breakdown, total: int) -> str:
    components = [
        f"{holder.component} {percent(holder.bytes, total)}" for holder in rank_holders({}, held.activations)
    ]
    inside = f" ({', '.join(components[:3])})" if components else ""
    kinds = [
        f"{kind} {percent(size, total)}{inside if kind == ACTIVATIONS else ''}"
        for kind, size in largest_first(held.by_kind).items()
    ]
    return join(kinds[:3])
