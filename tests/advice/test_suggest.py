"""Remedies are set beside the start and ranked; combinations reach a batch size. On hand-made traces."""

from dataclasses import replace

import pytest
from processes import kill_oneself

from actprof.advice.combinations import reach
from actprof.advice.suggest import rank, suggest
from actprof.cell import Cell
from actprof.trace.cache import save_trace
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
    remedies = suggest(start, only_cached=True)
    names = [remedy.name for remedy in remedies]

    assert ["resize_224x224", "smaller_batch", "fused_attention"] == names[:3]
    assert {"fits"} == {remedy.after.verdict for remedy in remedies[:3]}
    assert {"checkpoint_encoder", "expandable_segments"} == set(names[3:])
    assert names[:2] == [remedy.name for remedy in suggest(start, only_cached=True, limit=2)]


def test_a_remedy_whose_trace_kills_its_process_is_left_out(start, monkeypatch):
    """The others are offered."""
    monkeypatch.setattr("actprof.prediction.many.trace_task", kill_oneself)
    names = {"fused_attention", "checkpoint_backbone", "frozen_backbone"}
    assert ["fused_attention"] == [remedy.name for remedy in suggest(start, names=names, jobs=1)]


def test_a_remedy_says_what_it_saves(start):
    """Bytes, samples and work against the start."""
    remedy = next(r for r in suggest(start, only_cached=True) if r.name == "fused_attention")
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
    first, second, third, *_ = suggest(start, only_cached=True)
    worked = replace(first.before, flops_per_sample=100)
    slow = replace(first, before=worked, after=replace(first.after, flops_per_sample=130))
    useless = replace(second, after=first.before)

    assert [third, slow, useless] == rank([useless, slow, third])


def test_a_family_speaks_once_before_it_speaks_again(start):
    """Two of one family are separated by the best of the others."""
    first, second, *_ = suggest(start, only_cached=True)
    twin = replace(first, name="twin")

    assert [first, second, twin] == rank([first, twin, second])


def test_a_wanted_batch_size_is_not_made_smaller(start):
    """The question is asked about that size."""
    remedies = suggest(replace(start, batch_size=8), target_batch=64, only_cached=True)

    assert {64} == {remedy.after.cell.batch_size for remedy in remedies}


def test_combinations_are_found_where_no_single_remedy_does(start, monkeypatch):
    """128 samples take both changes; the answer is lossless and names them."""
    import actprof.advice.combinations as module

    lossless = ("fused_attention", "checkpoint_encoder", "expandable_segments")
    monkeypatch.setattr(
        module, "suggest",
        lambda cell, **_: tuple(r for r in suggest(cell, only_cached=True) if r.name in lossless),
    )  # fmt: skip
    (found,) = reach(start, 100)

    assert {"fused_attention", "checkpoint_encoder"} == {offer.name for offer in found.offers}
    assert (True, "fits", 100) == (found.is_lossless, found.after.verdict, found.after.cell.batch_size)
    assert found.effort == sum(offer.effort for offer in found.offers)
    assert 2 == len(found.to_json()["remedies"])


def test_single_remedies_that_reach_come_by_effort(start, monkeypatch):
    """A flag comes before code."""
    import actprof.advice.combinations as module

    monkeypatch.setattr(module, "suggest", lambda cell, **_: suggest(cell, target_batch=64, only_cached=True))
    found = reach(start, 64, limit=2)

    assert [("resize_224x224",), ("fused_attention",)] == [
        tuple(offer.name for offer in combination.offers) for combination in found
    ]


@pytest.mark.slow
def test_the_run_that_started_it_all(tmp_path, monkeypatch):
    """640x480, batch 64, RTX 3090: smaller images, a smaller batch and attention without maps come first.

    The maps are a quarter of the memory, so without them the run fits.
    """
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    cell = Cell(overrides={"chunk_size": 50, "n_action_steps": 50}, batch_size=64)
    remedies = suggest(cell)
    first = {remedy.name: remedy for remedy in remedies[:3]}
    known = {remedy.name: remedy for remedy in remedies}

    assert {"resize_224x224", "smaller_batch", "fused_attention"} == set(first)
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
