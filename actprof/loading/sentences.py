"""What loader results say, in words that the terminal and the page share."""

from __future__ import annotations

from actprof.loading.feed import Feed
from actprof.loading.ratios import Ratio
from actprof.loading.rows import COLD, WARM, DatasetFacts, LoaderResult, LoaderRow
from actprof.units import MIB, format_bytes

# What each part of a sample is.
STAGE_WORDS = {
    "rows": "state and actions from the table",
    "open": "opening and closing the video",
    "seek": "finding the key frame",
    "decode": "decoding frames",
    "convert": "to RGB tensors",
    "transform": "resizing",
    "collate": "making a batch",
    "rest": "everything else",
}
MEMORY_HEADS = ("main", "each worker", "in /dev/shm")  # of `memory_texts`
_SAME = 1.05  # a ratio below it is noise


def milliseconds(seconds: float) -> str:
    """Return seconds in milliseconds, to a hundredth at most, without a unit."""
    value = 1000 * seconds
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def times(ratio: float) -> str:
    """Return `2.9 times faster`, `154 times slower`, or that nothing changes that one could be sure of."""
    factor, word = (ratio, "faster") if ratio >= 1 else (1 / ratio, "slower")
    if factor < _SAME:
        return "no faster or slower"
    return f"{factor:.1f} times {word}" if factor < 10 else f"{factor:.0f} times {word}"


def fastest(result: LoaderResult) -> LoaderRow | None:
    """Return the row that gives most samples a second, of what lerobot does as it is, or None."""
    rows = [
        row
        for row in result.rows
        if row.samples_per_second and row.cache == WARM and not row.source.actions_alone
    ]
    return max(rows, key=lambda row: row.samples_per_second or 0.0, default=None)


def say_result(result: LoaderResult) -> str:
    """Return the one sentence that matters most."""
    cores = "1 core" if result.cores == 1 else f"{result.cores} cores"
    best = fastest(result)
    if best is None:
        return f"{result.name} on {cores}: nothing could be measured."
    first = result.sources[0]
    now = [row.samples_per_second or 0.0 for row in result.rows if row.source == first and row.cache == WARM]
    said = f"{result.name} on {cores}: {first} gives at most {max(now, default=0.0):.3g} samples/s"
    beyond = _say_alone(result, best)
    if best.source == first:
        return f"{said}, more than any other of lerobot's ways that was measured{beyond}."
    most = f"{best.samples_per_second:.3g}"
    return f"{said}; the most is {most}, by {best.source} with {workers_text(best.workers)}{beyond}."


def _say_alone(result: LoaderResult, best: LoaderRow) -> str:
    """Return what is faster only because it reads less than lerobot does, where anything is."""
    alone = (row for row in result.rows if row.source.actions_alone and row.cache == WARM)
    most = max((row.samples_per_second or 0.0 for row in alone), default=0.0)
    if most <= (best.samples_per_second or 0.0):
        return ""
    return f" ({most:.3g} with actions read alone, which lerobot does not do)"


def workers_text(count: int) -> str:
    """Return `no workers`, `1 worker`, `2 workers`."""
    return "no workers" if not count else "1 worker" if count == 1 else f"{count} workers"


def memory_texts(row: LoaderRow) -> tuple[str, ...]:
    """Return MiB, measured / predicted, of the main process, of a worker in the mean, and of /dev/shm."""
    found, said = row.memory, row.predicted_memory
    if found is None or said is None:
        return ("\u2013",) * len(MEMORY_HEADS)
    count = len(found.workers_bytes)
    worker = sum(found.workers_bytes) // count if count else None
    pairs = (
        (found.main_bytes, said.main_bytes),
        (worker, said.worker_bytes),
        (found.shm_bytes, said.shm_bytes),
    )
    return tuple(f"{_mebibytes(measured)} / {_mebibytes(predicted or None)}" for measured, predicted in pairs)


def _mebibytes(size: int | None) -> str:
    if size is None:
        return "\u2013"
    return f"{size / MIB:.0f}" if size >= 10 * MIB else f"{size / MIB:.4g}"


def dataset_text(facts: DatasetFacts) -> str:
    """Return one storage in a line."""
    cameras = "1 camera" if facts.cameras == 1 else f"{facts.cameras} cameras"
    codec = f" ({facts.codec})" if facts.codec else ""
    return (
        f"{facts.storage} {facts.width}x{facts.height}{codec}: {cameras}, {facts.episodes} episodes, "
        f"{facts.frames} frames, {format_bytes(facts.frame_bytes)} a frame"
    )


def say_ratio(ratio: Ratio) -> str:
    """Return what a ratio is taken from: both ways of loading, with their milliseconds."""
    return (
        f"{ratio.before} {milliseconds(ratio.before_seconds)} ms, "
        f"{ratio.after} {milliseconds(ratio.after_seconds)} ms a sample"
    )


def say_cold(result: LoaderResult) -> list[str]:
    """Return, for each row without the page cache, the samples a second beside those with it."""
    said = []
    for cold in result.rows:
        warm = result.row(cold.source, batch_size=cold.batch_size)
        if cold.cache != COLD or not cold.sample_seconds or warm is None or not warm.sample_seconds:
            continue
        rate, usual = f"{1 / cold.sample_seconds:.3g}", f"{1 / warm.sample_seconds:.3g}"
        if cold.sample_seconds > _SAME * warm.sample_seconds:
            said.append(f"{rate} samples/s instead of {usual} ({cold.source})")
        else:
            said.append(f"no slower than the {usual} samples/s with them there ({cold.source})")
    return said


def step_of(result: LoaderResult, batch_size: int | None) -> int:
    """Return the batch size of the step in question: the one given, else the largest measured."""
    return batch_size or max(result.batch_sizes, default=1)


def advise(feed: Feed, cores: int) -> str:
    """Return what keeps a step fed with one way of loading, or what it comes to instead."""
    workers = workers_text(feed.workers)
    busy = f"{feed.cores:.1f} cores busy"
    if feed.fits:
        how = "measured" if feed.is_measured else "computed"
        return f"{feed.source}: {workers} ({how}), {busy} with loading"
    here = "the core here also trains" if cores == 1 else f"one of the {cores} here trains"
    return (
        f"{feed.source}: would take {workers} and {busy} with loading, {here}; "
        f"{feed.samples_per_second:.3g} samples/s, waiting {feed.data_share:.0%} of the time"
    )
