"""Where a predicted step goes, on a page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.advice.faster import Faster, faster
from actprof.cell import Cell
from actprof.measurement import Spread
from actprof.report.page import Plots
from actprof.report.step_section import draw_phases, present_step, table_changes, table_kinds
from actprof.results import GpuUse, KindCost, Result, StepWork
from actprof.step_time.variants import COMPILED, DDP, DDP_GPUS, GRAPHS

WORK = StepWork(
    device_seconds=0.03, host_seconds=0.04, busy_share=0.75, bytes_per_sample=1, shares={"launches": 0.25},
    kinds=(KindCost(kind="convolution", kernels=2, seconds=0.03, flops=1, bytes=1),),
    components={"backbone": 0.02, "optimizer": 0.01},
    phases={"forward": (0.01, 0.005), "backward": (0.02, 0.015), "optimizer": (0.01, 0.01)},
    variants={GRAPHS: (0.03, 0.03), COMPILED: (0.02, 0.032), DDP: (0.04, 0.08)},
)  # fmt: skip
STEP = Result(
    source="predicted", cell=Cell(batch_size=8), gpu=GpuUse(name="T4", capacity_bytes=1, context_bytes=0),
    step_seconds=Spread(low=0.03, median=0.04, high=0.05), samples_per_second=200.0, limited_by="launches",
    work=WORK,
)  # fmt: skip


def plain(text):
    return text.replace("\u202f", " ")


def test_the_section_says_first_what_limits_the_step():
    """With the band; there is none without a step, nor of a file that has no kinds yet."""
    section = present_step(STEP, (), Plots())

    assert (
        "A step takes 40 ms (30 ms to 50 ms), limited by kernel launches: the host needs 40 ms, the GPU is "
        "busy for 30 ms." == section["said"]
    )
    assert section["changes"] is None
    assert present_step(replace(STEP, work=None), (), Plots()) is None
    assert present_step(replace(STEP, work=replace(WORK, kinds=())), (), Plots()) is None


def test_phases_have_a_bar_for_the_host_and_one_for_the_gpu():
    """In milliseconds, in the order of a step."""
    host, gpu = draw_phases(WORK).data

    assert ("the host launches", "the GPU is busy") == (host.name, gpu.name)
    assert ("forward", "backward", "optimizer") == tuple(host.y)
    assert ((10, 20, 10), (5, 15, 10)) == (tuple(host.x), tuple(gpu.x))


def test_kinds_and_components_add_up_to_the_gpus_time():
    """Each with its share."""
    (row,) = table_kinds(WORK).rows
    assert ["convolutions", "2", "30.00", "100 %"] == [plain(text) for text in row.entries[:4]]
    section = present_step(STEP, (), Plots())
    assert ["67 %", "33 %"] == [plain(row.entries[2]) for row in section["components"].rows]


def test_changes_are_told_as_samples_per_second(monkeypatch):
    """Bands with both ends, those of several GPUs for all of them; what makes no difference is so called."""
    monkeypatch.setattr("actprof.advice.faster.cached_trace", lambda _cell: None)
    changes = faster(STEP)
    first, *_ = changes

    assert [DDP, COMPILED, GRAPHS] == [change.title for change in changes]
    assert (DDP_GPUS * 100, DDP_GPUS * 200) == first.rates
    same = Faster(title="nothing", rates=(200.0, 201.0), ratios=(1.0, 1.005))
    table = table_changes(STEP, [*changes, same])
    cells = [row.entries[:3] for row in table.rows]
    assert ("as it is", "200", "\u2013") == cells[0]
    assert (COMPILED, "250 to 400", "1.25 to 2.00") == cells[2]
    assert ("nothing", "200 to 201", "the same") == cells[-1]
    assert "assumed" in table.rows[2].entries[3]


@pytest.mark.parametrize(("ratios", "matters"), [((1.0, 1.2), True), ((0.8, 0.8), True), ((1.0, 1.0), False)])
def test_a_change_matters_for_better_or_worse(ratios, matters):
    """What makes a step slower is told too."""
    assert matters == Faster(title="x", rates=ratios, ratios=ratios).matters


def test_nothing_is_said_of_a_step_whose_speed_is_not_known():
    """No variants, no remedies."""
    assert () == faster(replace(STEP, samples_per_second=None))
