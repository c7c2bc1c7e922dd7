"""The page of data loading: what each way of loading gives, what each change brings, and what feeds a step.

One file that opens without a network; it shares its look and its script with the report of a sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actprof.files import write_whole
from actprof.loading.feed import Feed, workers_needed
from actprof.loading.ratios import CODEC, IN_LOADER, RESIZED, STORED, Ratio, find_ratios
from actprof.loading.rows import LoaderResult, LoaderRow, Source
from actprof.loading.sentences import (
    STAGE_WORDS,
    advise,
    dataset_text,
    milliseconds,
    say_cold,
    say_result,
    step_of,
    times,
    workers_text,
)
from actprof.report.loader_figures import (
    STAGE_COLOURS,
    draw_stages,
    draw_workers,
    rows_with_stages,
    sources_by_workers,
    stages_of,
    within_scale,
)
from actprof.report.templating import templates

NOTHING = "\u2013"
_TITLES = {
    RESIZED: "Resizing at record time",
    STORED: "Storing images instead of video",
    CODEC: "torchcodec instead of pyav",
    IN_LOADER: "Resizing in the loader",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One change: what it brings to what a run does today, and what it brings elsewhere."""

    title: str
    value: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table of rates."""

    name: str
    batch_size: int
    batch: str
    sample: str
    rates: tuple[str, ...]
    processor: str
    reason: str


def render_loading(
    result: LoaderResult, *, step_seconds: float | None = None, step_batch_size: int | None = None
) -> str:
    """Return the page as HTML text; with the seconds of a step also what keeps it fed."""
    apart = rows_with_stages(result)
    drawn = within_scale(apart)
    by_workers = sources_by_workers(result)
    figures = {"stages": draw_stages(drawn)} if drawn else {}
    if by_workers:
        figures["workers"] = draw_workers(result)
    batch_size = step_of(result, step_batch_size)
    page = {
        "result": result,
        "lead": say_result(result),
        "datasets": [dataset_text(facts) for facts in result.datasets],
        "tiles": change_tiles(result),
        "counts": [workers_text(count) for count in sorted({row.workers for row in result.rows})],
        "lines": rate_lines(result),
        "cold": say_cold(result),
        "stages": stages_of(apart),
        "stage_words": STAGE_WORDS,
        "stage_colours": STAGE_COLOURS,
        "apart": [_parts(row, stages_of(apart)) for row in apart],
        "left_out": [str(row.source) for row in apart if row not in drawn],
        "by_workers": {str(source): colour for source, colour in by_workers.items()},
        "step_seconds": step_seconds,
        "step_batch_size": batch_size,
        "feeds": _feeds(result, step_seconds, batch_size),
        "figures": figures,
        "nothing": NOTHING,
    }
    return templates().get_template("loader.html.j2").render(**page)


def write_loader_page(
    result: LoaderResult,
    path: str | Path,
    *,
    step_seconds: float | None = None,
    step_batch_size: int | None = None,
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Raises:
        StoreError: the file cannot be written.
    """
    target = Path(path)
    text = render_loading(result, step_seconds=step_seconds, step_batch_size=step_batch_size)
    write_whole(target, text.encode())
    return target


def change_tiles(result: LoaderResult) -> list[Tile]:
    """Return one tile per change; the first ratio, of what a run does today, stands large."""
    ratios = find_ratios(result)
    tiles = []
    for change, title in _TITLES.items():
        own = [ratio for ratio in ratios if ratio.change == change]
        if own:
            notes = (_seconds(own[0]), *(f"{_pair(ratio)}: {times(ratio.times)}" for ratio in own[1:]))
            tiles.append(Tile(title, times(own[0].times), notes))
    return tiles


def _seconds(ratio: Ratio) -> str:
    before, after = milliseconds(ratio.before_seconds), milliseconds(ratio.after_seconds)
    return f"{_pair(ratio)}: {before} to {after} ms a sample"


def _pair(ratio: Ratio) -> str:
    return f"{ratio.before} \u2192 {ratio.after}"


def rate_lines(result: LoaderResult) -> list[Line]:
    """Return a row for each batch size and way of loading."""
    return [_line(result, source, size) for size in result.batch_sizes for source in result.sources]


def _line(result: LoaderResult, source: Source, batch_size: int) -> Line:
    alone = result.row(source, batch_size=batch_size)
    counts = sorted({row.workers for row in result.rows})
    rows = [result.row(source, workers=count, batch_size=batch_size) for count in counts]
    reasons = dict.fromkeys(row.reason for row in rows if row is not None and row.reason)
    return Line(
        name=str(source),
        batch_size=batch_size,
        batch=NOTHING
        if alone is None or not alone.batch_seconds
        else milliseconds(alone.batch_seconds.median),
        sample=NOTHING if alone is None or not alone.sample_seconds else milliseconds(alone.sample_seconds),
        rates=tuple(map(_rate, rows)),
        processor=NOTHING if alone is None or alone.cpu_seconds is None else milliseconds(alone.cpu_seconds),
        reason="; ".join(reasons),
    )


def _rate(row: LoaderRow | None) -> str:
    rate = None if row is None else row.samples_per_second
    return NOTHING if rate is None else f"{rate:.3g}"


def _parts(row: LoaderRow, stages: tuple[str, ...]) -> tuple[str, str, list[str], str]:
    values = [milliseconds(row.stages[name]) if name in row.stages else NOTHING for name in stages]
    frames = NOTHING if row.frames_decoded is None else f"{row.frames_decoded:.3g}"
    return str(row.source), milliseconds(sum(row.stages.values())), values, frames


def _feeds(result: LoaderResult, step_seconds: float | None, batch_size: int) -> list[tuple[Feed, str]]:
    if step_seconds is None:
        return []
    feeds = workers_needed(result.rows, step_seconds, result.cores, batch_size=batch_size)
    return [(feed, advise(feed, result.cores)) for feed in feeds]
