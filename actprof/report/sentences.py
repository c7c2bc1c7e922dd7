"""The answer in sentences with numbers, all computed from the results. Plain text, not escaped.

Every function returns what there is to say, and nothing where there is nothing: no sentence rests on a
number that is not known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.analysis.boundary import MOST_BATCH_SIZE
from actprof.report.arrange import Line, Setup, arrange, share_of_device
from actprof.report.words import (
    allocator_text,
    cameras_text,
    cell_text,
    gib,
    join,
    limit_text,
    percent,
    plural,
    spell,
    times,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actprof.results import Result

MAPS = "attention maps"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page says first.

    Attributes:
        lead: one or two sentences: which runs fit.
        parts: (heading, sentences) in the order of importance; none is empty.
    """

    lead: str
    parts: tuple[tuple[str, tuple[str, ...]], ...]


def answer(results: Sequence[Result]) -> Answer:
    """Return the whole answer; right for no result, for one, and for any mixture."""
    setups = arrange(results)
    parts = [(_titled("Where it stops", setup), say_stops(setup)) for setup in setups]
    parts += [(f"What {conf} changes", said) for conf, said in say_allocators(setups)]
    for setup in _one_per_policy(setups):
        parts.append((_titled("What the tokens do", setup), say_tokens(setup)))
        parts.append((_titled("Who holds the memory", setup), say_holders(setup)))
    return Answer(say_lead(results), tuple((heading, said) for heading, said in parts if said))


def say_lead(results: Sequence[Result]) -> str:
    """Return which runs fit, or for a single run whether it does."""
    if not results:
        return "No run has been answered yet."
    return _say_one(results[0]) if len(results) == 1 else _say_many(results)


def say_stops(setup: Setup) -> tuple[str, ...]:
    """Return, for each resolution, the largest batch size by cameras and allocator setting."""
    return tuple(_say_stop(setup, resolution) for resolution in setup.resolutions)


def say_allocators(setups: Sequence[Setup]) -> list[tuple[str, tuple[str, ...]]]:
    """Return, for each allocator setting beside the first, what it changes."""
    confs = list(dict.fromkeys(conf for setup in setups for conf in setup.alloc_confs))
    return [(allocator_text(conf), _say_allocator(setups, conf)) for conf in confs[1:]]


def say_tokens(setup: Setup) -> tuple[str, ...]:
    """Return how many tokens the encoder reads, and what fewer of them do to the limit."""
    ends = _token_ends(setup)
    if ends is None:
        return ()
    most, least = ends
    if most.tokens == least.tokens:
        verb = "makes" if most.cameras == 1 else "make"
        return (f"{_capital(_views(most))} {verb} {most.tokens} encoder {plural(most.tokens, 'token')}.",)
    return _say_contrast(most, least)


def say_holders(setup: Setup) -> tuple[str, ...]:
    """Return who holds the memory on either side of the limit of the setup's focus."""
    line = setup.focus
    if line is None:
        return ()
    return tuple(said for result in line.around_limit if (said := _say_holder(result)))


def device_text(results: Sequence[Result]) -> str:
    """Return the devices that the results are about, with their memory."""
    names = dict.fromkeys((r.gpu.name, r.gpu.capacity_bytes, r.cell.used_by_others_bytes) for r in results)
    return join(_device(*name) for name in names) if len(names) <= 4 else f"{len(names)} devices"


def _device(name: str, capacity: int, used: int) -> str:
    others = f", of which other programs hold {gib(used)} GiB" if used else ""
    return f"the {name} ({gib(capacity)} GiB{others})"


def _titled(heading: str, setup: Setup) -> str:
    return f"{heading}: {setup.name}" if setup.name else heading


def _one_per_policy(setups: Sequence[Setup]) -> list[Setup]:
    return list({setup.results[0].cell.policy: setup for setup in reversed(setups)}.values())[::-1]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _say_one(result: Result) -> str:
    verbs = {"fits": "fits", "tight": "is tight", "oom": "does not fit"}
    verb = verbs.get(result.verdict, "has no verdict")
    said = f"Training {result.cell.policy} with {cell_text(result.cell)}, on {device_text([result])} {verb}"
    said += f": {result.reason.rstrip('.')}." if result.reason else "."
    if result.peak_process_bytes:
        said += f" The process needs {gib(result.peak_process_bytes)} GiB at its peak."
    if result.max_batch_size is not None:
        said += f" The largest batch that runs is {limit_text(result.max_batch_size)}."
    return said


def _say_many(results: Sequence[Result]) -> str:
    counts = Counter(r.verdict for r in results)
    total, fits = len(results), counts["fits"]
    where = device_text(results)
    if fits == total:
        return f"All {total} runs fit {where}."
    if counts["oom"] == total:
        return f"None of the {total} runs fits {where}: all run out of memory."
    rest = [
        f"{counts['tight']} {_be(counts['tight'])} tight" if counts["tight"] else "",
        f"{counts['oom']} {_run(counts['oom'])} out of memory" if counts["oom"] else "",
        f"{counts['unknown']} {_be(counts['unknown'])} unknown" if counts["unknown"] else "",
    ]
    some = (
        f"{fits} of {total} runs {'fits' if fits == 1 else 'fit'}"
        if fits
        else f"None of the {total} runs fits"
    )
    return f"{some} {where}; {join(part for part in rest if part)}."


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _run(count: int) -> str:
    return "runs" if count == 1 else "run"


def _say_stop(setup: Setup, resolution: str) -> str:
    rows = [
        [setup.line(resolution, cameras, conf) for cameras in setup.cameras] for conf in setup.alloc_confs
    ]
    said: list[str] = []
    named: list[int] = []
    for conf, row in zip(setup.alloc_confs, rows, strict=True):
        lines = [line for line in row if line]
        cameras = [line.cameras for line in lines]
        limits = _limits_by_camera(lines) if cameras != named else [limit_text(line.limit) for line in lines]
        if lines:
            said.append(f"{join(limits)}{f' under {conf}' if conf else ''}")
        named = cameras
    return f"At {resolution} the largest batch is {'; '.join(said)}."


def _limits_by_camera(lines: Sequence[Line]) -> list[str]:
    with_cameras = (
        [cameras_text(lines[0].cameras), *(spell(line.cameras) for line in lines[1:])] if lines else []
    )
    return [f"{limit_text(line.limit)} with {views}" for line, views in zip(lines, with_cameras, strict=True)]


def _say_allocator(setups: Sequence[Setup], conf: str) -> tuple[str, ...]:
    pairs = [
        (base, line)
        for setup in setups
        for line in setup.lines
        if line.alloc_conf == conf
        and (base := setup.line(line.resolution, line.cameras, setup.alloc_confs[0]))
    ]
    known = [(a.limit, b.limit, b) for a, b in pairs if a.limit is not None and b.limit is not None]
    said = (_say_gains(known), _say_flips(pairs))
    return tuple(text for text in said if text)


def _say_gains(known: Sequence[tuple[int, int, Line]]) -> str:
    gains = [(after - before, before, after, line) for before, after, line in known]
    said = []
    for verb, some in (
        ("raises", [g for g in gains if g[0] > 0]),
        ("lowers", [g for g in gains if g[0] < 0]),
    ):
        if some:
            share = "all" if len(some) == len(gains) > 1 else f"{len(some)} of"
            said.append(f"{verb} {share} {len(gains)} {plural(len(gains), 'limit')} by {_span(some)}")
    if not said:
        return "It moves no limit." if gains else ""
    best = max(gains, key=lambda gain: gain[0] / max(gain[1], 1))
    example = ""
    if best[0] > 0 and best[1]:
        example = f"; the largest gain is at {_views(best[3])}, from {best[1]} to {best[2]} (+{percent(best[0], best[1])})"
    return f"It {join(said)}{example}."


def _span(gains: Sequence[tuple[int, int, int, Line]]) -> str:
    sizes = [abs(gain[0]) for gain in gains]
    low, high = min(sizes), max(sizes)
    text = str(low) if low == high else f"{low} to {high}"
    return f"{text} {plural(high, 'sample')}"


def _say_flips(pairs: Sequence[tuple[Line, Line]]) -> str:
    compared = saved = lost = 0
    for base, line in pairs:
        before = {r.cell.batch_size: r for r in base.results}
        for result in line.results:
            other = before.get(result.cell.batch_size)
            if other is None or "unknown" in (other.verdict, result.verdict):
                continue
            compared += 1
            saved += result.runs and other.verdict == "oom"
            lost += other.runs and result.verdict == "oom"
    if not compared:
        return ""
    said = f"Of the {compared} {plural(compared, 'run')} tried both ways, {saved or 'none'} {_run(max(saved, 1))} only with it"
    return f"{said}, {lost} only without it." if lost else f"{said}."


def _views(line: Line) -> str:
    return f"{cameras_text(line.cameras).replace(' ', f' {line.resolution} ', 1)}"


def _token_ends(setup: Setup) -> tuple[Line, Line] | None:
    """Return the lines with most and fewest tokens, with the focus's cameras if those differ at all."""
    lines = [line for line in setup.lines if line.tokens and line.alloc_conf == setup.alloc_confs[0]]
    cameras = setup.focus.cameras if setup.focus else 0
    same = [line for line in lines if line.cameras == cameras]
    if len({line.tokens for line in same}) < 2:
        same = lines
    if not same:
        return None
    return max(same, key=lambda line: line.tokens), min(same, key=lambda line: line.tokens)


def _say_contrast(most: Line, least: Line) -> tuple[str, ...]:
    ratio = most.tokens / least.tokens
    verb = "makes" if most.cameras == 1 else "make"
    said = (
        f"{_capital(_views(most))} {verb} {most.tokens} encoder tokens, {_views(least)} {least.tokens}: "
        f"{times(ratio)} fewer, and {times(ratio**2)} fewer entries in every attention map."
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
    said += f"{_say_kinds(result, total)}."
    maps = sum(group.get(MAPS, 0) for group in held.activations.values())
    return f"{said} All attention maps together are {percent(maps, total)} of it." if maps else said


def _say_kinds(result: Result, total: int) -> str:
    held = result.breakdown
    if held is None:
        return ""
    parts = []
    for kind, size in sorted(held.by_kind.items(), key=lambda item: -item[1])[:3]:
        inside = (
            f" ({_components(held.activations, total)})" if kind == "activations" and held.activations else ""
        )
        parts.append(f"{kind} {percent(size, total)}{inside}")
    return join(parts)


def _components(activations: Mapping[str, Mapping[str, int]], total: int) -> str:
    sizes = sorted(((sum(group.values()), name) for name, group in activations.items()), reverse=True)
    return ", ".join(f"{name.replace('_', ' ')} {percent(size, total)}" for size, name in sizes[:3])


def summary(result: Result) -> str:
    """Return one line on a cell: what it needs, of how much, and the verdict's reason."""
    share = share_of_device(result)
    if share is None:
        return f"Not known: {result.reason or 'no numbers'}."
    return f"Needs {gib(result.peak_process_bytes)} of {gib(result.gpu.capacity_bytes)} GiB; {result.reason.rstrip('.')}."
