"""Predicted step times on the page."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from actprof.explanation.sentences import short_op
from actprof.hardware import find_gpu
from actprof.measurement import Spread
from actprof.report.arrange import arrange
from actprof.report.page import Plots, write_page
from actprof.report.speed_figures import draw_roofline, draw_shares, roofs_of
from actprof.report.speed_section import OP_NUMBERS, present_speed
from actprof.report.sweep_page import Report, render_report
from actprof.report.sweep_tables import table_cells
from actprof.results import KindCost, OpCost, StepWork
from actprof.step_time.rates import default_rates

EVIL = "<img src=x onerror=alert(1)>"
SHARES = {"launches": 0.1, "arithmetic": 0.6, "bandwidth": 0.3}
COSTS = (
    OpCost(op="aten.mm.default", launches=8, seconds=0.06, flops=10**12, bytes=10**10, bound="arithmetic"),
    OpCost(op="aten.mul.Tensor", launches=3, seconds=0.02, flops=0, bytes=10**10, bound="bandwidth"),
    OpCost(op="aten.bmm.default", launches=2, seconds=0.01, flops=10**10, bytes=10**9, bound="bandwidth"),
)


def timed(result, *, seconds=None, shares=SHARES, costs=COSTS, limited_by="arithmetic"):
    """Return the result with a predicted step; as long as 10 ms a sample, or so many seconds."""
    median = seconds or 0.01 * result.cell.batch_size
    work = StepWork(
        device_seconds=0.9 * median, host_seconds=0.02, busy_share=0.9, bytes_per_sample=10**9, shares=shares,
        costliest=costs,
    )  # fmt: skip
    return replace(
        result, work=work, limited_by=limited_by, kernel_launches=1150, flops_per_sample=10**11,
        step_seconds=Spread(low=0.7 * median, median=median, high=1.4 * median),
        samples_per_second=result.cell.batch_size / median,
    )  # fmt: skip


@pytest.fixture
def timed_grid(grid):
    """The grid of the page's tests, each cell with its step."""
    return tuple(timed(result) for result in grid)


def section_of(results, measured=()):
    figures = Plots()
    section = present_speed(tuple(results), tuple(measured), figures)
    return section and SimpleNamespace(**section), figures


def plain(text):
    return text.replace("\u202f", " ")


def test_without_step_times_there_is_no_section(grid):
    """Neither in the contents nor on the page; and nothing there says how fast a step is."""
    assert section_of(grid)[0] is None
    page = render_report(Report(name="x", results=grid))
    assert 'href="#speed"' not in page
    assert 'id="speed"' not in page
    assert "nothing here says how fast a step is" in page


def test_the_sentence_tells_of_the_ends_at_the_same_batch(make_result):
    """Largest and smallest images, the largest batch that runs at both."""
    results = [
        timed(make_result(resolution=name, batch_size=n), seconds=n * each)
        for name, each, sizes in (("640x480", 0.0125, (8, 32)), ("224x224", 0.0025, (8, 32, 64)))
        for n in sizes
    ]
    section, _ = section_of([*results, timed(make_result(batch_size=64, verdict="oom"))])
    (said,) = map(plain, section.said)
    assert (
        "With two 640x480 cameras a step of batch 32 takes about 400 ms, 80.0 samples/s, limited by "
        "arithmetic: the GPU is busy for 360 ms (arithmetic 67%, memory bandwidth 33%), the host needs "
        "20 ms; at 224x224 it takes about 80 ms, 400 samples/s, limited by arithmetic: the GPU is busy "
        "for 72 ms (arithmetic 67%, memory bandwidth 33%), the host needs 20 ms."
    ) == said
    assert "arithmetic" == section.helps[0][0]
    assert "smaller images" in section.helps[0][1]


def test_the_caveat_has_the_band_and_what_was_measured(make_result, measure):
    """A prediction is called one, and rings are explained where there are any."""
    predicted = timed(make_result())
    alone, _ = section_of([predicted])
    assert "a real step may take 70 % to 140 % of the time" in plain(alone.caveat)
    assert "This report has no timed run on the RTX 3090." in alone.caveat
    beside, _ = section_of([predicted], [measure(predicted)])
    assert (False, True) == (alone.has_points, beside.has_points)
    assert "drawn as rings" in beside.caveat


def test_a_step_that_the_host_holds_up_says_so_first(make_result):
    """With the seconds of both, and on which host; its mark stands at the top of the bar."""
    shares = {"launches": 0.3, "arithmetic": 0.4, "bandwidth": 0.3}
    step = timed(make_result(), seconds=0.05, shares=shares, limited_by="launches")
    step = replace(step, work=replace(step.work, host_seconds=0.05, device_seconds=0.035, host="a Xeon"))
    section, _ = section_of([step])
    (said,) = map(plain, section.said)

    assert said.endswith("limited by kernel launches: the host needs 50 ms, the GPU is busy for 35 ms.")
    assert "launching is taken to cost the host as much as on: a Xeon" in section.caveat
    assert [100] == list(draw_shares([step]).data[-1].y)
    assert "kernel launches" == section.helps[0][0]


def test_the_kinds_of_kernels_stand_beside_the_ops(make_result):
    """Of the same run; nothing where an older actprof counted none."""
    kinds = (
        KindCost(kind="convolution", kernels=3, seconds=0.03, flops=1, bytes=1),
        KindCost(kind="layout conversion", kernels=6, seconds=0.01, flops=0, bytes=1),
    )
    result = timed(make_result())
    known = replace(result, work=replace(result.work, kinds=kinds, device_seconds=0.04))
    (view,), (older,) = (section_of([some])[0].ops for some in (known, result))

    assert older.second is None
    rows = [[plain(text) for text in row.entries[:4]] for row in view.second.rows]
    assert [["convolutions", "3", "30.00", "75 %"], ["layout conversions", "6", "10.00", "25 %"]] == rows
    assert [1, pytest.approx(1 / 3)] == [row.entries[4].bar for row in view.second.rows]


def test_allocator_settings_are_one_line(timed_grid):
    """One mark per resolution and batch size, of those that run under any setting."""
    section, figures = section_of(timed_grid)
    assert ["one camera", "two cameras"] == [view.name for view in section.speeds]
    assert [False, True] == [view.first for view in section.speeds]
    lines = {line.name: tuple(line.x) for line in figures[section.speeds[1].panels[0].figure].data}
    assert {"640x480": (8, 32), "224x224": (8, 32, 128)} == lines


def test_real_runs_on_the_gpu_itself_are_rings_beside_the_line(make_result, measure):
    """A device that played another is as fast as itself, and is left out."""
    predicted = [timed(make_result(batch_size=n, alloc_conf="a:1")) for n in (8, 16)]
    section, figures = section_of(
        predicted, [measure(predicted[0], seconds=0.1), measure(predicted[1], cap_bytes=2**30)]
    )
    line, rings = figures[section.speeds[0].panels[0].figure].data
    assert ((8, 16), (8,)) == (tuple(line.x), tuple(rings.x))
    assert (False, True) == (line.error_y.visible, rings.error_y.visible)
    assert ("circle-open", "markers") == (rings.marker.symbol, rings.mode)


def test_shares_of_a_step_add_up(make_result):
    """To 100 % in every bar; what takes no time has no colour."""
    line = [timed(make_result(batch_size=n)) for n in (8, 16)]
    *bars, host = draw_shares(line).data
    names = ["waits for the host (kernel launches)", "arithmetic", "memory bandwidth"]
    assert names == [bar.name for bar in bars]
    assert [25, 12.5] == list(host.y)  # 20 ms of 80 and of 160
    assert [100, 100] == pytest.approx([sum(column) for column in zip(*(bar.y for bar in bars), strict=True)])
    bar, _ = draw_shares([timed(make_result(), shares={"data": 1.0, "launches": 0.0})]).data
    assert "data loading" == bar.name


def test_ops_stand_at_their_flops_by_byte(make_result):
    """Height is the rate that they reach; those without FLOPs stand left of all others."""
    result = timed(make_result())
    roofs = roofs_of(find_gpu("RTX 3090"), result.cell)
    figure = draw_roofline(result, roofs)
    marks = {trace.name: trace for trace in figure.data if "markers" in trace.mode}
    assert ((100,), (round(10**12 / 0.06),)) == (marks["arithmetic"].x, marks["arithmetic"].y)
    none, bmm = marks["memory bandwidth"].x
    assert none < bmm == 10
    assert ["none"] == [
        text
        for at, text in zip(figure.layout.xaxis.tickvals, figure.layout.xaxis.ticktext, strict=True)
        if at <= none
    ]
    areas = [trace.marker.size[0] ** 2 for trace in marks.values()]
    assert 3 == pytest.approx(areas[0] / areas[1], rel=0.02)


def test_the_roofs_are_the_catalogues_at_the_shares_that_predictions_take(make_result):
    """TF32 in fp32, as lerobot allows it; bf16 in half precision; none where the speed is not known."""
    gpu = find_gpu("RTX 3090")
    roofs = roofs_of(gpu, make_result().cell)
    assert gpu.tf32_flops == roofs.flops
    best = default_rates()
    assert (best.best, best.best_bandwidth) == pytest.approx(
        (roofs.reachable_flops / roofs.flops, roofs.reachable_bandwidth / roofs.bandwidth)
    )
    assert 0.5 < best.best < 1
    assert 0.5 < best.best_bandwidth < 1
    assert gpu.bf16_flops == roofs_of(gpu, make_result(precision="bf16").cell).flops
    turing = find_gpu("T4")  # has fp16 in its tensor cores, and no bf16
    amp = make_result(overrides={"use_amp": True}).cell
    assert turing.fp16_flops == roofs_of(turing, amp).flops
    assert roofs_of(replace(gpu, memory_bandwidth_bytes_per_s=None), make_result().cell) is None


def test_a_gpu_that_is_not_in_the_catalogue_has_no_roofs(make_result):
    """The ops are shown all the same, and the page says why."""
    section, _ = section_of([timed(make_result(gpu="Lab card 7"))])
    assert [False] == [not view.note for view in section.ops]
    page = render_report(Report(name="x", results=(timed(make_result(gpu="Lab card 7")),)))
    assert "is not in the catalogue, so there are no roofs" in page


def test_the_table_of_ops_has_a_text_per_column(timed_grid):
    """Dearest first, with what they are bound by; one view per camera count and resolution."""
    section, _ = section_of(timed_grid)
    assert 4 == len(section.ops)
    assert 1 == sum(view.first for view in section.ops)
    (view,) = [view for view in section.ops if view.first]
    assert "two cameras \u00b7 640x480 \u00b7 batch 32" == view.name
    lines = [row.entries for row in view.table.rows]
    assert {1 + len(OP_NUMBERS) + 1} == {len(view.table.columns)} == {len(line) for line in lines}
    (op, *first, bound), (_, *second, _), _ = lines
    assert ("aten.mm.default", "arithmetic") == (op, bound.text)
    assert ["8", "60.00", "19 %", "1,000.0", "10,000", "100"] == [plain(text) for text in first]
    assert ("\u2013", "\u2013") == (second[3], second[5])


def test_short_names_leave_out_what_all_have():
    """The overload stays where it says something."""
    assert ["mm", "mul.Tensor"] == [short_op(name) for name in ("aten.mm.default", "aten.mul.Tensor")]


def test_all_cells_have_step_and_rate_where_any_is_known(grid, make_result):
    """Of what runs; of the others the details say what a step would take."""
    assert "Step ms" not in dict(table_cells(arrange(grid)).columns)
    results = [timed(make_result(batch_size=8)), timed(make_result(batch_size=64, verdict="oom"))]
    table = table_cells(arrange([*results, make_result(batch_size=96)]))
    fits, fails, unknown = table.rows
    assert ("Step ms", "Samples/s") == tuple(name for name, _ in table.columns[-2:])
    assert ("80.0", "100") == tuple(field.text for field in fits.entries[-2:])
    assert ("", "", "", "") == tuple(f.text for row in (fails, unknown) for f in row.entries[-2:])
    details = {name: plain(text) for name, text in fits.facts}
    assert "80 ms (56 ms to 112 ms), 100 samples/s" == details["Step, predicted"]
    limited = "arithmetic: the GPU is busy for 72 ms (arithmetic 67%, memory bandwidth 33%), the host needs"
    assert details["Limited by"].startswith(limited)
    assert "1,150 kernel launches" in details["Limited by"]
    assert "Step, if it fitted" in dict(fails.facts)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (None, ""),
        ({}, "in measured seconds: all but"),
        ({"cap_bytes": 2**30}, "not for the GPU that it played"),
        ({"device": "cpu", "verdict": "unknown"}, "the measured seconds here are of a CPU"),
    ],
)
def test_what_is_not_included_is_true_of_time(make_result, measure, fields, words):
    """Predictions are estimates, loading is not in them, and measured seconds are of their device."""
    predicted = timed(make_result())
    measured = () if fields is None else (measure(predicted, **fields),)
    page = plain(render_report(Report(name="x", results=(predicted,), measured=measured)))
    assert "a real step may take 70 % to 140 % of them" in page
    assert "<code>actprof loader</code> measures it" in page
    assert words in page
    assert "nothing here says how fast" not in page
    assert "predicted time: all seconds are measured" not in page


def test_names_cannot_break_out_of_the_section(make_result, packed):
    """Ops, limits and GPUs are text."""
    costs = (replace(COSTS[0], op=EVIL, bound=EVIL),)
    result = timed(make_result(gpu=EVIL), costs=costs, shares={EVIL: 1.0}, limited_by=EVIL)
    page = render_report(Report(name="x", results=(result,)))
    assert EVIL not in re.sub(r"<script>\s*/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)
    figures = packed(page)
    assert EVIL not in json.dumps(figures)


@pytest.fixture
def speed_page(timed_grid, measure, tmp_path):
    """The path of a page with a section of speeds."""
    report = Report(name="x", results=timed_grid, measured=(measure(timed_grid[0]),))
    return write_page(tmp_path / "page.html", render_report(report))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_section_works_in_a_browser(open_file, speed_page, width, scheme):
    """Figures of one view are drawn, the selects change it, nothing complains, nothing is too wide."""
    page = open_file(speed_page, width=width, scheme=scheme)
    drawn = page.locator("#speed .plot:visible svg.main-svg:first-child")
    assert 4 == page.locator("#speed .plot:visible").count() == drawn.count()
    page.select_option("#speed-view", label="one camera")
    page.select_option("#ops-view", index=0)
    drawn.nth(3).wait_for()
    assert 4 == drawn.count()
    assert width == page.evaluate("document.documentElement.scrollWidth")
