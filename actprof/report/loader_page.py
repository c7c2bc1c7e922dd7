"""The page of data loading: what each way of loading gives, what each change brings, and what feeds a step.

The report of a sweep has a section of the same; `actprof loader --out FOLDER` puts it into its store.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from actprof.loading.feed import Feed, workers_needed
from actprof.loading.ratios import CODEC, IN_LOADER, RESIZED, STORED, Ratio, find_ratios
from actprof.loading.rows import LoaderResult, LoaderRow
from actprof.loading.sentences import (
    MEMORY_HEADS,
    STAGE_WORDS,
    advise,
    dataset_text,
    memory_texts,
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
from actprof.report.page import Plots, render
from actprof.report.parts import NOTHING, Entry, Table, Tile, columns, rows
from actprof.report.speed_section import MOST_SETUPS, ends_of, timed_setups
from actprof.results import Result
from actprof.units import format_seconds
from actprof.words import views_text

_TITLES = {
    RESIZED: "Resizing at record time",
    STORED: "Storing images instead of video",
    CODEC: "torchcodec instead of pyav",
    IN_LOADER: "Resizing in the loader",
}


def render_loading(
    result: LoaderResult, *, step_seconds: float | None = None, step_batch_size: int | None = None
) -> str:
    """Return the page as HTML text; with the seconds of a step also what keeps it fed."""
    apart = rows_with_stages(result)
    drawn = within_scale(apart)
    by_workers = sources_by_workers(result)
    stages = stages_of(apart)
    figures = Plots()
    stages_figure = workers_figure = None
    if drawn:
        label = "Milliseconds of one sample by part; the table below has the figures"
        stages_figure = figures.add(draw_stages(drawn), "", label, "stages")
    if by_workers:
        label = "Samples per second by DataLoader workers; the table above has the figures"
        workers_figure = figures.add(draw_workers(result), "Samples per second by workers", label, "workers")
    batch_size = step_of(result, step_batch_size)
    return render(
        "loader",
        figures,
        result=result,
        lead=say_result(result),
        datasets=[dataset_text(facts) for facts in result.datasets],
        tiles=change_tiles(result),
        rates=table_rates(result, of_processor=True),
        gaps=_say_gaps(result),
        measured_with=result.batch_sizes,
        cold=say_cold(result),
        by_workers=workers_figure,
        workers_key=[(str(source), colour) for source, (colour, _) in by_workers.items()],
        parts=_table_parts(apart, stages) if apart else None,
        parts_figure=stages_figure,
        parts_key=[(STAGE_WORDS[stage], STAGE_COLOURS[stage]) for stage in stages],
        memory=_table_memory(result),
        left_out=[str(row.source) for row in apart if row not in drawn],
        step_seconds=step_seconds,
        step_batch_size=batch_size,
        feeds=[] if step_seconds is None else say_feeds(result, result.rows, step_seconds, batch_size),
    )  # fmt: skip


def change_tiles(result: LoaderResult) -> tuple[Tile, ...]:
    """Return one tile per change; the first ratio, of what a run does today, stands large."""
    ratios = find_ratios(result)
    found = {title: [r for r in ratios if r.change == change] for change, title in _TITLES.items()}
    return tuple(Tile(title, times(own[0].times), _notes(*own)) for title, own in found.items() if own)


def _notes(first: Ratio, *others: Ratio) -> tuple[str, ...]:
    rates = f"{_rate_of(first.before_seconds)} to {_rate_of(first.after_seconds)} samples/s, without workers"
    ways = f"{first.before} \u2192 {first.after}: {rates}"
    return (ways, *(f"{r.before} \u2192 {r.after}: {times(r.times)}" for r in others))


def _rate_of(sample_seconds: float) -> str:
    return f"{1 / sample_seconds:.3g}"


def _say_gaps(result: LoaderResult) -> str:
    """Return what a dash in the table of rates means, or nothing where there is none."""
    counts = {row.workers for row in result.rows}
    places = product(result.sources, counts, result.batch_sizes)
    rows = [result.row(source, workers=count, batch_size=size) for source, count, size in places]
    if all(row and row.samples_per_second for row in rows):
        return ""
    refused = any(row.reason for row in result.rows)
    why = ", or could not be (the reason stands below its name)" if refused else ""
    return f"Where there is a {NOTHING}, it was not measured: left out to save time{why}."


def table_rates(result: LoaderResult, *, of_processor: bool) -> Table:
    """Return a row for each batch size and way of loading: samples per second by workers.

    If wanted also the milliseconds of the processor for a sample.
    """
    counts = sorted({row.workers for row in result.rows})
    lines = []
    for size in result.batch_sizes:
        for source in result.sources:
            found = [result.row(source, workers=count, batch_size=size) for count in counts]
            reasons = dict.fromkeys(row.reason for row in found if row and row.reason)
            notes = (f"not measured: {'; '.join(reasons)}",) if reasons else ()
            alone = result.row(source, batch_size=size)
            processor = _milliseconds(alone.cpu_seconds if alone else None)
            entries = (Entry(str(source), notes=notes), str(size), *map(_rate, found))
            lines.append((*entries, processor) if of_processor else entries)
    numbers = ("Batch", *map(workers_text, counts), *(["CPU ms a sample"] if of_processor else []))
    heads = (("Loading", "way"), *columns(numbers=numbers))
    return Table("Samples loaded per second", heads, rows(lines), css="rates")


def _milliseconds(seconds: float | None) -> str:
    return milliseconds(seconds) if seconds else NOTHING


def _rate(row: LoaderRow | None) -> str:
    rate = None if row is None else row.samples_per_second
    return NOTHING if rate is None else f"{rate:.3g}"


def _table_parts(apart: Sequence[LoaderRow], stages: Sequence[str]) -> Table:
    lines = [
        (
            str(row.source),
            Entry(milliseconds(sum(row.stages.values())), "n sum"),
            *(_milliseconds(row.stages.get(name)) for name in stages),
            NOTHING if row.frames_decoded is None else f"{row.frames_decoded:.3g}",
        )
        for row in apart
    ]
    names = [STAGE_WORDS[name] for name in stages]
    heads = (("Loading", "way"), *columns(numbers=("in all", *names, "frames decoded")))
    return Table("Milliseconds of one sample by part", heads, rows(lines), css="parts")


def _table_memory(result: LoaderResult) -> Table | None:
    """Return what each loader's processes hold at rest, beside the formula; None where nobody looked."""
    lines = [
        (str(row.source), str(row.batch_size), str(row.workers), *memory_texts(row))
        for row in result.rows
        if row.memory is not None
    ]
    heads = (("Loading", "way"), *columns(numbers=("Batch", "Workers", *MEMORY_HEADS)))
    return Table("MiB of the host's memory, measured / predicted", heads, rows(lines)) if lines else None


def say_feeds(
    result: LoaderResult, some: Sequence[LoaderRow], step_seconds: float, batch_size: int
) -> tuple[tuple[Feed, str], ...]:
    """Return for each way of loading among `some` rows whether it keeps up with a step, and what to do."""
    feeds = workers_needed(some, step_seconds, result.cores, batch_size=batch_size)
    return tuple((feed, advise(feed, result.cores)) for feed in feeds)


# -- the section in the report of a sweep ----------------------------------------------------------------


def present_loading(loading: LoaderResult | None, results: Sequence[Result]) -> dict[str, Any] | None:
    """Return what the template shows of measured loading, or None where nothing was measured.

    `fed` has the predicted steps that the report tells of, where images of their size were loaded, each with
    whether the ways of loading keep up with it.
    """
    if loading is None:
        return None
    ends = [end for setup in timed_setups(results)[:MOST_SETUPS] for end in ends_of(setup)]
    return {
        "lead": say_result(loading),
        "tiles": change_tiles(loading),
        "rates": table_rates(loading, of_processor=False),
        "gaps": _say_gaps(loading),
        "cold": say_cold(loading),
        "fed": [fed for end in ends if (fed := _fed(loading, end))],
        "notes": loading.notes,
    }


def _fed(loading: LoaderResult, result: Result) -> tuple[str, Sequence[tuple[Feed, str]]] | None:
    cell, seconds = result.cell, result.step_seconds
    own = [row for row in loading.rows if row.source.given_size == cell.resolution]
    if not own or seconds is None or {facts.cameras for facts in loading.datasets} != {cell.cameras}:
        return None
    step = (
        f"A step of batch {cell.batch_size} with {views_text(cell.cameras, cell.resolution)} on "
        f"{result.gpu.name}, predicted to take {format_seconds(seconds.median)}"
    )
    feeds = say_feeds(loading, own, seconds.median, cell.batch_size)
    return (step, feeds) if feeds else None
