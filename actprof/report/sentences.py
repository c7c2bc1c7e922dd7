"""The answer in sentences with numbers, all computed from the results. Plain text, not escaped.

Every function returns what there is to say, and nothing where there is nothing: no sentence rests on a
number that is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from actprof.advice.answer import beyond_text
from actprof.policies import policy_title
from actprof.report.arrange import Setup, arrange, share_of_device
from actprof.report.reasons import say_allocators, say_holders, say_tokens, token_ends
from actprof.results import MEASURED, Result, Verdict
from actprof.words import (
    VERDICT_WORDS,
    cameras_text,
    capital,
    cell_text,
    gib,
    join,
    limit_text,
    spell,
    views_text,
)

_FEW_DEVICES = 4  # more are counted, not named


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page says first.

    Attributes:
        lead: one or two sentences: which runs fit.
        parts: (heading, sentences) in the order of importance; none is empty.
    """

    lead: str
    parts: tuple[tuple[str, tuple[str, ...]], ...]


def answer(results: Sequence[Result], *, planned: int | None = None) -> Answer:
    """Return the whole answer; right for no result, for one, and for any mixture.

    Args:
        results: what is known.
        planned: how many results there will be; None when these are all.
    """
    setups = arrange(results)
    parts = [
        (_titled("Largest batch size", setup), tuple(_say_stop(setup, name) for name in setup.resolutions))
        for setup in setups
        if _asks_limits(setup)
    ]
    parts += say_allocators(setups)
    for setup in _one_per_policy(setups):
        parts.append((_titled("What the tokens do", setup), say_tokens(setup)))
        parts.append((_titled("Who holds the memory", setup), say_holders(setup)))
    lead = say_lead(results)
    if planned is not None and len(results) < planned:
        lead = f"Only {len(results)} of {planned} runs are answered so far. {lead}"
    return Answer(lead, tuple((heading, said) for heading, said in parts if said))


def say_lead(results: Sequence[Result]) -> str:
    """Return which runs fit, or for a single run whether it does."""
    if not results:
        return "No run has been answered yet."
    if all(r.on_cpu for r in results):
        runs = "1 run was" if len(results) == 1 else f"{len(results)} runs were"
        return f"{runs} measured on the CPU, which says nothing about a GPU's memory."
    if len(results) == 1:
        return _say_one(results[0])
    setups = arrange(results)
    ends = _say_ends(setups[0]) if len(setups) == 1 else ""
    return f"{_say_many(results)} {ends}".rstrip()


def device_text(results: Sequence[Result]) -> str:
    """Return the devices that the results are about, with their memory."""
    devices = [some[0] for some in _by_device(results)]
    return f"{len(devices)} devices" if len(devices) > _FEW_DEVICES else join(map(_device, devices))


def _device(result: Result) -> str:
    used = result.cell.used_by_others_bytes
    others = f", of which other programs hold {gib(used)} GiB" if used else ""
    return f"the {result.gpu.name} ({gib(result.gpu.capacity_bytes)} GiB{others})"


def _asks_limits(setup: Setup) -> bool:
    """Return whether limits were looked for: by every prediction, by a real run on request only."""
    return any(r.max_batch_size is not None or r.source != MEASURED for r in setup.results)


def _titled(heading: str, setup: Setup) -> str:
    return f"{heading}: {setup.name}" if setup.name else heading


def _one_per_policy(setups: Sequence[Setup]) -> list[Setup]:
    return list({setup.results[0].cell.policy: setup for setup in reversed(setups)}.values())[::-1]


def _say_one(result: Result) -> str:
    verbs = {
        Verdict.FITS: "fits", Verdict.TIGHT: "is tight", Verdict.OOM: "does not fit",
        Verdict.FAILED: "failed",
    }  # fmt: skip
    verb = verbs.get(result.verdict, "has no verdict")
    cell = result.cell
    said = f"Training {policy_title(cell.policy)} with {cell_text(cell)}, on {device_text([result])} {verb}"
    said += f": {say_why(result)}" if result.reason else "."
    if share_of_device(result) is not None:
        said += f" The process needs {gib(result.peak_process_bytes)} GiB at its peak."
    if result.max_batch_size is not None:
        said += f" The largest batch that runs is {limit_text(result.max_batch_size)}{_surely(result)}."
    return said


def _surely(result: Result) -> str:
    """Return down to which batch size cuDNN's choice of plans counts, if it does."""
    surely, likely = result.surely_fits_batch_size, result.max_batch_size
    if surely is None or likely is None or surely >= likely:
        return ""
    return f", and {surely} runs whichever plans cuDNN takes"


def _say_many(results: Sequence[Result]) -> str:
    counts = Counter(r.verdict for r in results)
    total = len(results)
    where = device_text(results)
    if counts[Verdict.FITS] == total:
        return f"All {total} runs fit {where}."
    if counts[Verdict.OOM] == total:
        return f"None of the {total} runs fits {where}: all run out of memory."
    words = {
        Verdict.TIGHT: ("is tight", "are tight"), Verdict.OOM: ("runs out of memory", "run out of memory"),
        Verdict.UNKNOWN: ("is unknown", "are unknown"), Verdict.FAILED: ("failed", "failed"),
    }  # fmt: skip
    rest = [
        f"{n} {one if n == 1 else many}" for verdict, (one, many) in words.items() if (n := counts[verdict])
    ]
    return f"{_say_fits(results)}; {join(rest)}."


def _say_fits(results: Sequence[Result]) -> str:
    """Return how many fit, device by device where there are a few."""
    total, fits = len(results), sum(r.verdict == Verdict.FITS for r in results)
    if not fits:
        return f"None of the {total} runs fits {device_text(results)}"
    verb = "fits" if fits == 1 else "fit"
    devices = _by_device(results)
    if not 1 < len(devices) <= _FEW_DEVICES:
        return f"{fits} of {total} runs {verb} {device_text(results)}"
    shares = [
        f"{sum(r.verdict == 'fits' for r in some)} of {len(some)} on {device_text(some)}" for some in devices
    ]
    return f"{fits} of {total} runs {verb}: {join(shares)}"


def _by_device(results: Sequence[Result]) -> list[list[Result]]:
    devices: dict[tuple[str, int, int], list[Result]] = defaultdict(list)
    for r in results:
        devices[r.gpu.name, r.gpu.capacity_bytes, r.cell.used_by_others_bytes].append(r)
    return list(devices.values())


def _say_ends(setup: Setup) -> str:
    """Return the limits of the lines with most and fewest tokens, if they are known."""
    ends = token_ends(setup)
    if ends is None or not ends[0].limit or not ends[1].limit:
        return ""
    if ends[0] is ends[1]:
        return f"The largest batch that runs is {limit_text(ends[0].limit)}."
    most, least = (views_text(line.cameras, line.resolution) for line in ends)
    first, second = (limit_text(line.limit) for line in ends)
    verb = "runs" if ends[0].cameras == 1 else "run"
    return f"{capital(most)} {verb} up to batch {first}, {least} up to {second}."


def _say_stop(setup: Setup, resolution: str) -> str:
    """Return the largest batch size by cameras and allocator setting."""
    said: list[str] = []
    named: list[int] = []
    for conf in setup.alloc_confs:
        found = (setup.line(resolution, cameras, conf) for cameras in setup.cameras)
        lines = [line for line in found if line]
        images = lines[0].images if lines else resolution
        cameras = [line.cameras for line in lines]
        limits = [limit_text(line.limit) for line in lines]
        if any(cameras) and cameras != named:  # `56 with two cameras`, and the noun no second time
            names = [cameras_text(n) if not i or not n else spell(n) for i, n in enumerate(cameras)]
            limits = [f"{limit} with {name}" for limit, name in zip(limits, names, strict=True)]
        if lines:
            said.append(f"{join(limits)}{f' under {conf}' if conf else ''}")
        named = cameras
    where = f"At {images}" if any(named) else "Without cameras"
    return f"{where} the largest batch is {'; '.join(said)}."


def summary(result: Result) -> str:
    """Return one line on a cell: what it needs, of how much, and the verdict's reason."""
    if share_of_device(result) is None:
        head = "Not known" if result.verdict == Verdict.UNKNOWN else capital(VERDICT_WORDS[result.verdict])
        return f"{head}: {result.reason.rstrip('.') or 'no numbers'}."
    need, capacity = gib(result.peak_process_bytes), gib(result.gpu.capacity_bytes)
    return f"Needs {need} of {capacity} GiB; {say_why(result) or f'{result.verdict}.'}"


def say_why(result: Result) -> str:
    """Return the verdict's reason in sentences, and how a run gets through that needs more than there is."""
    reason = result.reason.rstrip(".")
    return " ".join(filter(None, (reason and f"{reason}.", beyond_text(result))))
