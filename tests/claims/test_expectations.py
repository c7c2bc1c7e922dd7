"""What becomes of expectations, with results made by hand and the real baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actprof import api
from actprof.cell import Cell
from actprof.claims.expectation import Expectation
from actprof.claims.grammar import parse_expected
from actprof.claims.judge import Outcome, evaluate
from actprof.claims.quantities import RATIO, find_quantity, read_facts, resnets
from actprof.errors import TraceError
from actprof.out_of_memory import OutOfMemory
from actprof.policies.facts import Parameter, PolicyFacts
from actprof.records import from_plain, to_plain
from actprof.results import Breakdown, GpuUse, Result
from actprof.units import GIB, MIB

BASELINE = Path(__file__).parents[2] / "scenarios" / "so101-baseline.yaml"


def result_of(cell=None, **fields):
    values = {
        "source": "predicted", "gpu": GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=0),
        "parameters": 1000, "encoder_tokens": 602, "peak_allocated_bytes": 13 * GIB, "verdict": "fits",
        "reason": "it runs", "headroom_bytes": GIB, "max_batch_size": 57,
        "breakdown": Breakdown(
            phase="forward", allocated_bytes=100, by_kind={"parameters": 20, "activations": 80},
            activations={
                "encoder": {"attention maps": 27, "feed-forward": 13}, "backbone": {"feature maps": 40},
            },
        ),
    }  # fmt: skip
    return Result(cell=cell or Cell(), **{**values, **fields})


def facts(_cell=None):
    def row(path, count, component, **more):
        return Parameter(
            path=path, component=component, count=count, bytes=4 * count, **{"trainable": True} | more
        )

    return PolicyFacts(
        parameters=(
            row("model.backbone.layer1.0.conv1.weight", 70, "backbone"),
            row("model.backbone.bn1.weight", 5, "backbone", is_buffer=True),
            row("model.encoder.layers.0.linear1.weight", 30, "encoder", trainable=False),
        ),
        encoder_tokens=602, output_shape=(1,), components=(), other_component="other",
    )  # fmt: skip


def outcome_of(name, value, *results, get_facts=facts, against=()):
    quantity = find_quantity(name)
    if against:
        quantity = replace(quantity, kind=RATIO)
    results = results or (result_of(),)
    expectation = Expectation(
        quantity=quantity,
        expected=parse_expected(value, quantity),
        cells=tuple(r.cell for r in results),
        against=tuple(r.cell for r in against),
    )
    known = {r.cell.identity(): r for r in (*results, *against)}
    (outcome,) = evaluate([expectation], known, get_facts)
    return outcome


@pytest.mark.parametrize(
    ("name", "value", "held", "actual"),
    [
        ("encoder_tokens", 602, True, "602"),
        ("encoder_tokens", 100, False, "602"),
        ("peak_allocated", "< 13 GiB", False, "13.00 GiB"),
        ("peak_allocated", "13958643713 B", False, "13958643712.00 B"),
        ("share.encoder", "40 %", True, "40.0 %"),
        ("share.encoder.attention maps", "> 50 %", False, "27.0 %"),
        ("share.decoder", "0 %", True, "0.0 %"),
        ("share.activations", "80 %", True, "80.0 %"),
        ("memory.backbone", "40 B", True, "40.00 B"),
        ("parameters.backbone", 70, True, "70"),
        ("parameters.trainable", 70, True, "70"),
        ("backbones", 2, False, "1"),
        ("checkpoint", "420 B", True, "420.00 B"),
        ("max_batch_size", ">= 32", True, "57"),
        ("oom.segment", "76 MiB", False, "does not run out"),
        ("headroom", "> 0", True, "1.00 GiB"),
    ],
)
def test_a_quantity_is_held_or_broken_with_both_figures(name, value, held, actual):
    """The actual figure is in the unit of the expected one."""
    outcome = outcome_of(name, value)
    assert (held, actual) == (outcome.held, outcome.actual)


def test_a_run_that_runs_out_has_a_segment_a_phase_and_a_module():
    """A module stands for what lies in it."""
    oom = OutOfMemory(
        step=1, phase="forward", module="model.encoder.layers.3", op="aten.relu.default",
        requested_bytes=75 * MIB, segment_bytes=76 * MIB, allocated_bytes=0, reserved_bytes=0, message="",
    )  # fmt: skip
    result = result_of(verdict="oom", oom=oom)
    asked = {"oom.segment": "76 MiB", "oom.phase": "forward", "oom.module": "model.encoder"}
    assert [True] * 3 == [outcome_of(name, value, result).held for name, value in asked.items()]


def test_one_cell_that_breaks_it_breaks_it():
    """The others are counted."""
    outcome = outcome_of("encoder_tokens", 602, result_of(), result_of(Cell(cameras=1), encoder_tokens=302))
    assert (False, "302", 1) == (outcome.held, outcome.actual, outcome.broken_cells)
    assert "so in 1 of 2 runs" == outcome.instead


def test_tokens_of_a_policy_that_reads_none_are_not_nought():
    """A claim on them is neither held nor broken, and why is said."""
    outcome = outcome_of("encoder_tokens", 602, result_of(Cell(policy="diffusion"), encoder_tokens=0))
    assert outcome.held is None
    assert "no tokens of Diffusion Policy are counted" in outcome.instead


def test_what_cannot_be_told_is_neither_held_nor_broken():
    """An unknown verdict, an unknown boundary, a policy that cannot be traced."""
    unknown = result_of(verdict="unknown", reason="no trace")

    def untraceable(_cell):
        raise TraceError("cannot be traced")

    assert [None] * 4 == [
        outcome_of("verdict", "fits", unknown).held,
        outcome_of("encoder_tokens", 602, unknown).held,
        outcome_of("max_batch_size", 5, result_of(max_batch_size=None)).held,
        outcome_of("backbones", 1, get_facts=untraceable).held,
    ]
    assert outcome_of("verdict", "unknown", unknown).held
    assert "no trace" == outcome_of("encoder_tokens", 602, unknown).instead


def test_what_is_true_instead_may_stay_unsaid():
    """The figures are known, and nothing more can be traced: broken, without further words."""

    def untraceable(_cell):
        raise TraceError("cannot be traced")

    outcome = outcome_of("parameters", "52M", result_of(parameters=1), get_facts=untraceable)
    assert (False, "") == (outcome.held, outcome.instead)


def test_a_ratio_is_of_the_same_quantity_in_another_cell():
    """602 tokens are 6.02 times 100."""
    small = result_of(Cell(resolution="224x224"), encoder_tokens=100)
    outcome = outcome_of("encoder_tokens", "6 ± 0.1", against=(small,))
    assert (True, "6.02", "ratio of encoder_tokens") == (outcome.held, outcome.actual, outcome.quantity)
    none = result_of(Cell(resolution="224x224"), encoder_tokens=0)
    assert outcome_of("encoder_tokens", 6, against=(none,)).held is None


def test_what_is_true_instead_is_said():
    """Shared backbones, confused units, who holds the memory, why it does not fit."""
    said = {
        ("backbones", "2"): "the 2 cameras share one ResNet, model.backbone, of 70 parameters",
        ("share.encoder", "90 %"): "at the peak: feature maps of the backbone 40 %",
        ("verdict", "oom"): "it runs",
        ("parameters", "5"): "backbone 0.0M, encoder 0.0M",
    }
    for (name, value), text in said.items():
        assert outcome_of(name, value).instead.startswith(text)
    mib = result_of(peak_allocated_bytes=197 * MIB)
    assert "it holds in MiB: 197 MiB" == outcome_of("peak_allocated", "197 MB", mib).instead


def test_backbones_are_counted_by_their_paths():
    """A policy without a ResNet has none, one with two has two."""
    one = facts()
    second = replace(one.parameters[0], path="model.wrist.layer1.0.conv1.weight")
    assert ("model.backbone", "model.wrist") == resnets(replace(one, parameters=(*one.parameters, second)))
    assert 0 == read_facts("backbones", replace(one, parameters=()))
    apart = replace(one.parameters[0], path="rgb_encoder.1.backbone.4.0.conv1.weight")
    assert ("rgb_encoder.1.backbone",) == resnets(replace(one, parameters=(apart,)))


def test_an_outcome_survives_json():
    """The store keeps outcomes for the report."""
    outcome = outcome_of("encoder_tokens", 602)
    assert outcome == from_plain(Outcome, to_plain(outcome))


BROKEN = {
    ("Why 52M", "parameters", "18,715,654"),
    ("Parameter breakdown", "backbones", "1"),
    ("Parameter breakdown", "parameters.backbone", "11,166,912"),
    ("Why 52M", "ratio of parameters.backbone", "1.00"),
    ("Training results", "checkpoint", "206.47 MB"),
    ("No image resize", "ratio of encoder_tokens", "3.72"),
    ("No image resize", "memory.encoder.attention maps", "6.22 GiB"),
    ("Encoder input tokens", "share.encoder.attention maps", "25.4 %"),
}
HELD = {
    ("parameters", "51,571,590"),
    ("parameters.trainable", "51,571,590"),
    ("parameters.VAE encoder", "17,332,736"),
    ("parameters.encoder", "17,332,736"),
    ("parameters.decoder", "5,385,856"),
    ("parameters.projections and embeddings", "353,350"),
    ("encoder_tokens", "602"),
    ("encoder_tokens", "302"),
    ("encoder_tokens", "100"),
    ("ratio of encoder_tokens", "6.02"),
    ("verdict", "oom"),
    ("verdict", "fits"),
    ("oom.segment", "76.00 MiB"),
    ("share.encoder", "53.7 %"),
    ("max_batch_size", "54"),
}


@pytest.mark.slow
def test_these_claims_of_the_baseline_are_false_and_all_others_true(tmp_path):
    """The notes are right about tokens, the fit and the 76 MiB; wrong about the backbones and the maps."""
    outcomes = api.check(api.load_scenario(BASELINE), out=tmp_path / "none")
    assert {(o.source, o.quantity, o.actual) for o in outcomes if o.held is False} == BROKEN
    assert {(o.quantity, o.actual) for o in outcomes if o.held} == HELD
    assert [] == [o.quantity for o in outcomes if o.held is None]
