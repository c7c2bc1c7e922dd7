"""Remedies are set beside the start and ranked; combinations reach a batch size. On hand-made traces."""

from dataclasses import replace

import pytest
from processes import kill_oneself

from actprof.advice.combinations import reach
from actprof.advice.suggest import rank, suggest, untraced
from actprof.cell import Cell
from actprof.prediction.predict import predict_cell
from actprof.trace.cache import cached_trace, save_trace
from actprof.units import GIB, MIB

# Of 64 samples none fits into 23.69 GiB beside half a GiB of temporaries, unless they need less each.
PER_SAMPLE = {
    (): 512 * MIB,
    ("fused_attention",): 300 * MIB,
    ("checkpoint_encoder",): 400 * MIB,
    ("checkpoint_encoder", "fused_attention"): 150 * MIB,
}


@pytest.fixture
def start(make_trace, tmp_path, monkeypatch):
    """A run of batch size 64 that does not fit, whose remedies have cached traces."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    cell = Cell(overrides={"chunk_size": 7}, batch_size=64)
    for changes, size in PER_SAMPLE.items():
        save_trace(make_trace(activation=size), replace(cell, changes=changes))
    save_trace(make_trace(activation=20 * MIB), replace(cell, resolution="224x224"))
    return cell


def test_the_useful_ones_come_first(start):
    """First what fits, most room for the effort first; then what does not."""
    remedies = suggest(start, seconds=0)
    names = [remedy.name for remedy in remedies]

    assert ["resize_224x224", "fused_attention", "smaller_batch"] == names[:3]
    assert {"fits"} == {remedy.after.verdict for remedy in remedies[:3]}
    assert ["checkpoint_encoder"] == names[3:]
    assert names[:2] == [remedy.name for remedy in suggest(start, seconds=0, limit=2)]


def test_a_remedy_whose_trace_kills_its_process_is_left_out(start, monkeypatch):
    """The others are offered."""
    monkeypatch.setattr("actprof.prediction.many.trace_task", kill_oneself)
    names = {"fused_attention", "checkpoint_backbone", "frozen_backbone"}
    assert ["fused_attention"] == [remedy.name for remedy in suggest(start, names=names, jobs=1)]


def test_a_remedy_says_what_it_saves(start):
    """Bytes, samples and work against the start."""
    remedy = next(r for r in suggest(start, seconds=0) if r.name == "fused_attention")
    saved = 64 * 212 * MIB

    assert ("oom", "fits") == (remedy.before.verdict, remedy.after.verdict)
    assert abs(remedy.saved_bytes - saved) < GIB
    assert remedy.boundary_gain == remedy.after.max_batch_size - remedy.before.max_batch_size > 0
    assert (1.0, 7) == (remedy.flops_ratio, remedy.encoder_tokens)
    data = remedy.to_json()
    rates = [r.samples_per_second for r in (remedy.after, remedy.before)]
    assert rates[0] / rates[1] == remedy.speed_ratio == data["speed_ratio"]
    assert (remedy.saved_bytes, "fits") == (data["saved_bytes"], data["after"]["verdict"])
    assert "cell" not in data
    assert "curve" not in data["after"]


def test_slow_and_useless_remedies_go_behind(start):
    """More FLOPs per sample count against a remedy; one that gives nothing comes last."""
    first, second, third, *_ = suggest(start, seconds=0)
    worked = replace(first.before, flops_per_sample=100)
    slow = replace(first, before=worked, after=replace(first.after, flops_per_sample=130))
    useless = replace(second, after=first.before)

    assert [third, slow, useless] == rank([useless, slow, third])


def test_a_family_speaks_once_before_it_speaks_again(start):
    """Two of one family are separated by the best of the others."""
    first, second, *_ = suggest(start, seconds=0)
    twin = replace(first, name="twin")

    assert [first, second, twin] == rank([first, twin, second])


def test_what_does_next_to_nothing_is_left_out(start, make_trace):
    """A hundredth of the memory, of the largest batch or of the speed is the least that is worth a change."""
    for name, saved in (("fused_adamw", 2 * MIB), ("channels_last", 8 * MIB)):
        save_trace(make_trace(activation=PER_SAMPLE[()] - saved), replace(start, changes=(name,)))
    names = {remedy.name for remedy in suggest(start, seconds=0)}

    assert ("channels_last" in names, "fused_adamw" in names) == (True, False)


def test_remedies_are_traced_for_so_long_the_cheapest_first(start, monkeypatch):
    """As many as there is time for, if each takes as long as the run did; at least four."""
    traced = []

    def predict(cells, *_args):
        traced.append({cell.identity() for cell in cells if cached_trace(cell) is None})
        return [None] * len(cells)

    monkeypatch.setattr("actprof.advice.suggest.predict_all", predict)
    save_trace(replace(cached_trace(start), trace_seconds=10.0), start)
    for seconds in (0, 1, 60, 10_000):
        suggest(start, seconds=seconds, jobs=1)
    assert [0, 4, 6] == [len(cells) for cells in traced[:3]]
    assert len(untraced(predict_cell(start))) == len(traced[3]) > 6
    assert replace(start, precision="bf16").identity() in traced[1]
    assert replace(start, changes=("frozen_backbone",)).identity() not in traced[2]


def test_a_wanted_batch_size_is_not_made_smaller(start):
    """The question is asked about that size."""
    remedies = suggest(replace(start, batch_size=8), target_batch=64, seconds=0)

    assert {64} == {remedy.after.cell.batch_size for remedy in remedies}


def test_combinations_are_found_where_no_single_remedy_does(start):
    """100 samples take both changes; the answer is lossless and names them."""
    lossless = ("fused_attention", "checkpoint_encoder", "expandable_segments")
    (found,) = reach(suggest(start, target_batch=100, names=lossless, seconds=0))

    assert {"fused_attention", "checkpoint_encoder"} == {offer.name for offer in found.offers}
    assert (True, "fits", 100) == (found.is_lossless, found.after.verdict, found.after.cell.batch_size)
    assert found.effort == sum(offer.effort for offer in found.offers)
    assert 2 == len(found.to_json()["remedies"])


def test_single_remedies_that_reach_come_by_effort(start):
    """A flag comes before code."""
    found = reach(suggest(start, target_batch=64, seconds=0), limit=2)

    assert [("resize_224x224",), ("fused_attention",)] == [
        tuple(offer.name for offer in combination.offers) for combination in found
    ]


def test_no_combination_is_tried_when_the_time_is_over(start):
    """What single remedies reach is known by then."""
    lossless = ("fused_attention", "checkpoint_encoder", "expandable_segments")
    assert () == reach(suggest(start, target_batch=100, names=lossless, seconds=0), seconds=-1)


@pytest.mark.slow
def test_the_run_that_started_it_all(tmp_path, monkeypatch):
    """640x480, batch 64, RTX 3090: smaller images, accumulation and attention without maps come first.

    The batch that fits is among the others. The maps are a quarter of the memory: without them it fits.
    """
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    cell = Cell(overrides={"chunk_size": 50, "n_action_steps": 50}, batch_size=64)
    remedies = suggest(cell, seconds=10_000)
    first = {remedy.name: remedy for remedy in remedies[:3]}
    known = {remedy.name: remedy for remedy in remedies}

    assert {"resize_224x224", "accumulate_2", "fused_attention"} == set(first)
    assert 48 == known["smaller_batch"].after.cell.batch_size
    assert {"fits"} == {remedy.after.verdict for remedy in first.values()}
    fused = first["fused_attention"]
    share = 1 - fused.after.peak_allocated_bytes / fused.before.peak_allocated_bytes
    assert 0.2 < share < 0.3
    assert fused.after.max_batch_size > 64 > fused.before.max_batch_size
    assert 100 == first["resize_224x224"].encoder_tokens
    assert known["accumulate_2"].flops_ratio == 1
    assert known["checkpoint_backbone"].flops_ratio > 1.1
    assert (
        known["accumulate_2"].after.peak_allocated_bytes < known["fused_attention"].after.peak_allocated_bytes
    )
