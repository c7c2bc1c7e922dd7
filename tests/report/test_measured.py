"""Predictions beside real runs."""

from dataclasses import replace
from itertools import accumulate
from types import SimpleNamespace

import pytest

from actprof.ledger.comparison import Pair
from actprof.measurement import CardUse, Spread
from actprof.report.arrange import arrange
from actprof.report.measured_figures import draw_peaks, draw_speed
from actprof.report.measured_section import MOST_ROWS, present_measured, table_pairs
from actprof.report.measured_sentences import pair_up, say_alarms, say_measured
from actprof.report.page import Plots
from actprof.report.palette import shade
from actprof.report.parts import NOTHING
from actprof.report.sentences import answer, summary
from actprof.report.sweep_figures import cell_label
from actprof.report.sweep_page import Report, render_report
from actprof.units import GIB, MIB

EVIL = "<script>alert(1)</script><img src=x>"


def pairs_of(results, measured):
    return [pair for _, pairs in pair_up(results, measured) for pair in pairs]


def said_of(results, measured):
    return " ".join(say_measured(pairs_of(results, measured), len(results))).replace("\u202f", " ")


def number_columns(table):
    """Return the headings of the columns of numbers, each with the names of those below it."""
    names = [name for name, _ in table.columns]
    places = list(accumulate((count for _, count in table.groups), initial=-sum(n for _, n in table.groups)))
    ends = [*places[1:-1], None]
    groups = [(h, tuple(names[a:b])) for (h, _), a, b in zip(table.groups, places[:-1], ends, strict=True)]
    assert "Verdict" == groups[0][0]
    return groups[1:]


def numbers_of(pair):
    """Return the texts of a pair's row by (heading, column)."""
    table = table_pairs([(arrange([pair.run])[0], [pair])])
    columns = [(heading, name) for heading, names in number_columns(table) for name in names]
    return dict(zip(columns, table.rows[0].entries[-len(columns) :], strict=True))


def section_of(results, measured):
    figures = Plots()
    section = SimpleNamespace(**present_measured(results, measured, figures))
    return section, list(figures.values())


def test_runs_stand_beside_the_prediction_of_an_equal_cell(make_result, measure):
    """In the order of the page; a run of which nothing was predicted stands alone."""
    known, other = make_result(batch_size=16), make_result(batch_size=8)
    alone = measure(make_result(batch_size=32))
    pairs = pairs_of([known, other], [alone, measure(known), measure(other)])
    assert [other, known, None] == [pair.prediction for pair in pairs]


def test_a_difference_is_predicted_minus_measured(make_result, measure):
    """Positive where the prediction is too large."""
    predicted = make_result()
    pair = Pair.of(measure(predicted, allocated=5, reserved=-7), predicted)
    assert (5, -7) == (pair.difference_bytes("allocated"), pair.difference_bytes("reserved"))


@pytest.mark.parametrize("verdict", ["oom", "error", "unknown"])
def test_peaks_of_runs_that_did_not_get_through_are_not_compared(make_result, measure, verdict):
    """They are of another moment, or of nothing."""
    predicted = make_result()
    pair = Pair.of(measure(predicted, verdict=verdict, peak_allocated_bytes=GIB), predicted)
    assert (None, None) == (pair.difference_bytes("allocated"), pair.difference_bytes("reserved"))


def test_reserved_bytes_are_not_compared_where_the_cache_was_flushed(make_result, measure):
    """The prediction is of a device without limit."""
    predicted = make_result()
    pair = Pair.of(measure(predicted, verdict="tight", retries=1, reserved=GIB, allocated=1), predicted)
    assert (1, None) == (pair.difference_bytes("allocated"), pair.difference_bytes("reserved"))


def test_the_sentences_count_and_name_the_device_and_the_worst_differences(make_result, measure):
    """How many cells, where, how many verdicts agree, and the largest differences with their cells."""
    results = [make_result(batch_size=n, need=9 * GIB) for n in (8, 16, 32)]
    measured = [measure(results[0], allocated=80 * MIB), measure(results[1], reserved=-850 * MIB)]
    assert (
        "2 of 3 runs were measured, on the Big GPU (80.00 GiB). All 2 verdicts agree. "
        "Allocated memory differs by at worst +0.99 % (two 640x480 cameras, batch 8), "
        "reserved memory differs by at worst \u22128.9 % (two 640x480 cameras, batch 16)."
    ) == said_of(results, measured)


def test_a_device_that_played_another_says_so(make_result, measure):
    """With the bytes that its allocator was limited to."""
    predicted = make_result()
    said = said_of([predicted], [measure(predicted, cap_bytes=23 * GIB)])
    assert said.startswith(
        "1 run was measured, on the Big GPU (80.00 GiB) whose allocator was limited to 23.00 GiB to play "
        "the RTX 3090. The verdict agrees. Allocated memory differs by 0 %"
    )


def test_verdicts_that_differ_are_named(make_result, measure):
    """Those that had two; a failed run has none."""
    results = [make_result(batch_size=8), make_result(batch_size=16), make_result(batch_size=32)]
    measured = [
        measure(results[0], verdict="tight"),
        measure(results[1]),
        measure(results[2], verdict="error"),
    ]
    said = said_of(results, measured)
    assert "1 of 2 verdicts agrees; two 640x480 cameras, batch 8 was said to fit and runs tightly." in said
    assert "1 run failed for another reason than memory: two 640x480 cameras, batch 32; its row" in said


@pytest.mark.parametrize(("predicted", "words"), [("fits", "fit"), ("tight", "run tightly")])
def test_a_cell_that_was_said_to_run_and_ran_out_is_an_alarm(make_result, measure, predicted, words):
    """It stands in the answer and in the section; a foreseen one is none."""
    foreseen = make_result(verdict="oom", batch_size=64)
    wrong = make_result(verdict=predicted, alloc_conf="a:1")
    measured = (measure(wrong, verdict="oom"), measure(foreseen))
    text = f"1 run said to {words} ran out of memory: two 640x480 cameras, batch 8 under a:1."
    assert (text,) == say_alarms(pairs_of([wrong, foreseen], measured))
    page = render_report(Report(name="x", results=(wrong, foreseen), measured=measured))
    assert 2 == page.count(f'<p class="alarm">{text}')


def test_a_cpu_has_seconds_but_no_verdict(make_result, measure):
    """Nothing is compared, and the page still says nothing of a GPU's time."""
    predicted = make_result()
    run = measure(predicted, device="cpu", verdict="unknown", live_tensor_bytes=3 * GIB)
    said = said_of([predicted], [run])
    assert said.startswith("1 run was measured, on the CPU (Big GPU). A CPU has no caching allocator:")
    section, figures = section_of((predicted,), (run,))
    assert ((), 1, frozenset({"cpu"})) == (section.peaks, len(figures), section.timed_on)
    assert ("Live tensors", "3.00 GiB at most") in section.table.rows[0].facts
    assert "time on a GPU: the seconds here are of a CPU" in render_report(
        Report(name="x", results=(predicted,), measured=(run,))
    )


def test_a_row_has_all_figures_of_both(make_result, measure):
    """Sizes in GiB, differences in percent, seconds with the digits that they are worth."""
    predicted = make_result(need=11 * GIB)
    run = measure(
        predicted, allocated=GIB, max_batch_size=60, spike_reserved_bytes=GIB // 2, seconds=0.04,
        peak_reserved_bytes=10 * GIB,
    )  # fmt: skip
    numbers = numbers_of(Pair.of(run, predicted))
    shown = [text.replace("\u202f", " ") for text in numbers.values()]
    assert [
        "10.00", "9.00", "+11 %", "10.50", "10.00", "+5.0 %", "0.50", "64", "60",
        NOTHING, "0.0360", "0.0400", "0.0600", NOTHING, "0.0100", "0.0100", NOTHING, "200.0",
    ] == shown  # fmt: skip


def test_a_predicted_step_stands_beside_the_measured_median(make_result, measure):
    """Predicted minus measured; not of a device that played another, nor of a CPU."""
    predicted = make_result(step_seconds=Spread(low=0.35, median=0.55, high=0.7), samples_per_second=14.5)
    run = measure(predicted, seconds=0.5)
    numbers = numbers_of(Pair.of(run, predicted))
    assert ("0.550", "0.500") == (numbers["One step, s", "predicted"], numbers["One step, s", "median"])
    assert "+10\u202f%" == numbers["One step, s", "difference"]
    assert "Step time differs by +10 %." in said_of([predicted], [run])
    for other in (measure(predicted, cap_bytes=GIB), measure(predicted, device="cpu", verdict="unknown")):
        assert Pair.of(other, predicted).step_percent is None
        assert "Step time" not in said_of([predicted], [other])


def test_every_row_has_a_field_per_column(grid, make_result, measure):
    """With and without several setups, predictions, timings and verdicts."""
    t4 = make_result(gpu="T4", verdict="oom")
    runs = [measure(t4), measure(grid[0]), measure(grid[1], verdict="error"), measure(grid[2], device="cpu")]
    for results in ((*grid, t4), ()):
        table = table_pairs(pair_up(results, runs))
        verdicts = 2 if results else 1
        numbers = sum(len(names) for _, names in number_columns(table))
        assert 4 == len(table.rows)
        assert 5 + verdicts + numbers == len(table.columns)
        assert {len(table.columns)} == {len(row.entries) for row in table.rows}


def test_without_predictions_nothing_is_compared(make_result, measure):
    """No column of predictions, no ring, another heading; the measured runs are the page's results."""
    runs = tuple(measure(make_result(batch_size=n)) for n in (8, 16))
    assert ("Allocated, GiB", ("measured",)) in number_columns(table_pairs(pair_up((), runs)))
    section, _ = section_of((), runs)
    assert ("Measured", False) == (section.heading, section.has_predictions)
    page = render_report(Report(name="x", measured=runs))
    assert "All 2 runs fit the RTX 3090" in page
    assert "2 runs were <strong>measured</strong>" in page
    assert '<th scope="col" class="n first">predicted' not in page


def test_real_runs_alone_say_no_limit_that_nobody_looked_for(make_result, measure):
    """Unless it was asked for; and runs on the CPU fit nothing, nor do they not."""
    predicted = make_result()
    assert "Largest batch size" not in dict(answer([measure(predicted)]).parts)
    assert "Largest batch size" in dict(answer([measure(predicted, max_batch_size=9)]).parts)
    host = measure(predicted, verdict="unknown", device="cpu")
    assert "1 run was measured on the CPU, which says nothing about a GPU's memory." == answer([host]).lead


def test_a_failed_run_unfolds_to_its_reason_and_last_lines(make_result, measure):
    """Escaped, beside what NVML saw of the card."""
    predicted = make_result()
    run = measure(
        predicted, verdict="error", reason="the worker was killed", stderr=("one", EVIL), command=EVIL,
        card=CardUse(samples=2, others_bytes=GIB, sm_clock_mhz=(300, 1980), throttle_reasons=("sw_power",)),
    )  # fmt: skip
    page = render_report(Report(name="x", results=(predicted,), measured=(run,)))
    assert "<dt>Measured</dt><dd>the worker was killed</dd>" in page
    assert "<pre>one\n&lt;script&gt;alert(1)" in page
    assert "others 1.00 GiB, 300 to 1,980 MHz, throttled: sw_power" in page
    assert "<script>alert" not in page


def test_what_a_real_run_does_not_know_is_not_shown_of_its_end(make_result, measure):
    """PyTorch's message names the segment, not the request."""
    predicted = make_result(verdict="oom")
    run = measure(predicted, oom=predicted.oom.__class__(
        step=1, phase="forward", module="", op="", requested_bytes=0, segment_bytes=472 * MIB,
        allocated_bytes=GIB, reserved_bytes=2 * GIB, message="CUDA out of memory.",
    ))  # fmt: skip
    (row,) = table_pairs(pair_up([predicted], [run])).rows
    assert (
        "Ran out", "step 1, forward phase, asking for 472.00 MiB, with 1.00 GiB allocated, 2.00 GiB reserved"
    ) in row.facts  # fmt: skip


def test_rings_are_predictions_and_dots_measurements(make_result, measure):
    """A run that ran out has a ring only, and its row says so."""
    results = [
        make_result(batch_size=8, need=9 * GIB),
        make_result(batch_size=64, need=30 * GIB, verdict="oom"),
    ]
    measured = [measure(results[0], allocated=GIB), measure(results[1])]
    figure = draw_peaks(pairs_of(results, measured), top_bytes=30 * GIB)
    _, rings, dots, *_ = figure.data
    assert ((8.0, 29.0), (7.0,)) == (tuple(rings.x), tuple(dots.x))
    assert ("circle-open", "circle") == (rings.marker.symbol, dots.marker.symbol)
    assert "640x480 \u00b7 2 \u00b7 64 <b>OOM</b>" == figure.layout.yaxis.ticktext[1]


def test_speed_is_drawn_by_batch_size_with_its_spread(make_result, measure):
    """One line per resolution, from the slowest step to the fastest."""
    runs = [measure(make_result(batch_size=n), seconds=1.0) for n in (32, 8)]
    (line,) = draw_speed(runs, ["640x480"], top=32).data
    assert ((8, 32), (8.0, 32.0)) == (tuple(line.x), tuple(line.y))
    assert (0.889, 2.667) == pytest.approx((line.error_y.array[0], line.error_y.arrayminus[0]), abs=0.001)


def test_a_run_that_failed_stands_with_the_others(make_result, measure):
    """It knows neither its device nor that device's memory, which makes no setup of its own."""
    results = [make_result(batch_size=n) for n in (8, 16)]
    lost = measure(results[1], verdict="error")
    lost = replace(lost, device=None)
    (group,) = pair_up(results, [measure(results[0], gpu=replace(results[0].gpu, capacity_bytes=79)), lost])
    assert results == [pair.prediction for pair in group[1]]
    assert "2 runs were measured, on the Big GPU (80.00 GiB)." == say_measured(group[1], 2)[0]
    assert "1 run was measured." == say_measured(group[1][1:], 1)[0]


def test_a_run_that_ran_out_has_no_peak(make_result, measure):
    """What its last finished step took is not what it needs; the heatmap says OOM and no number."""
    run = measure(make_result(verdict="oom"), peak_reserved_bytes=GIB, peak_allocated_bytes=GIB)
    assert ((0, 0), (0, 0)) == (Pair.of(run).peaks("allocated"), Pair.of(run).peaks("reserved"))
    assert ("<b>OOM</b>", 1.2) == (cell_label(run), shade(run))
    assert "Out of memory: it is oom." == summary(run)


def test_of_many_runs_the_figure_shows_those_that_differ_most(make_result, measure):
    """In their order; a verdict that was wrong is always among them, and the table has all."""
    results = tuple(make_result(batch_size=n + 1) for n in range(MOST_ROWS + 4))
    measured = tuple(measure(r, allocated=i * MIB) for i, r in enumerate(results[1:]))
    measured = (measure(results[0], verdict="oom"), *measured)
    section, (peaks, _) = section_of(results, measured)
    names = peaks.layout.yaxis.ticktext
    assert (4, MOST_ROWS + 4) == (section.peaks_left_out, len(section.table.rows))
    assert ("640x480 \u00b7 2 \u00b7 1 <b>OOM</b>", "640x480 \u00b7 2 \u00b7 6") == names[:2]


def test_a_page_without_measurements_has_no_such_section(make_result):
    """And says that it knows no time; with timings that sentence changes."""
    page = render_report(Report(name="x", results=(make_result(),)))
    assert 'id="measured"' not in page
    assert '#measured"' not in page
    assert "nothing here says how fast a step is on the GPU" in page


def test_a_page_with_timings_says_what_they_are_of(make_result, measure):
    """Never of the GPU that was played."""
    predicted = make_result()
    page = render_report(
        Report(name="x", results=(predicted,), measured=(measure(predicted, cap_bytes=GIB),))
    )
    assert "nothing here says how fast" not in page
    assert "hold for the device that is named, not for the GPU that it played" in page
    assert '<a href="#measured">Predicted and measured</a>' in page
    assert "1 run was <strong>predicted, without a GPU</strong>" in page
