"""The grammar of expected values, and the `expect:` section of scenario files."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actprof.cell import Cell
from actprof.claims.expectation import expected_cells
from actprof.claims.grammar import Amount, between, compare, one_of, parse_expected, within
from actprof.claims.quantities import (
    BYTES,
    COUNT,
    GROUPS,
    HOLDERS,
    PHASES,
    PLAIN,
    RATIO,
    SHARE,
    VERDICTS,
    Quantity,
    find_quantity,
    quantity_names,
)
from actprof.errors import ScenarioError, UsageError
from actprof.prediction.attribution import MAPS, group_of
from actprof.results import Verdict
from actprof.scenario.loading import load_scenario
from actprof.trace import model
from actprof.units import GIB, MIB

UNITS = {
    COUNT: ("", "K", "M", "G"),
    BYTES: ("B", "KiB", "MiB", "GiB", "MB", "GB"),
    SHARE: ("%",),
    RATIO: ("",),
}
SETTINGS = "set: {chunk_size: 7}\n"


def quantity_of(kind):
    return Quantity(name="peak", kind=kind)


def amounts(kind, *, lowest=-(10**6)):
    numbers = st.decimals(
        min_value=lowest, max_value=10**6, places=2, allow_nan=False, allow_infinity=False
    ).map(lambda number: abs(number) if number == 0 else number)
    return st.builds(Amount, numbers, st.sampled_from(UNITS[kind]))


@st.composite
def expected_values(draw):
    """Return a kind of figure and something that can be expected of it."""
    kind = draw(st.sampled_from(list(UNITS)))
    some = amounts(kind)
    low, high = sorted([draw(some), draw(some)], key=lambda amount: amount.value)
    equals = st.lists(some, min_size=2, max_size=3).map(lambda items: one_of(*items))
    tolerance = amounts(kind, lowest=0)
    value = draw(
        st.one_of(
            some.map(one_of),
            st.builds(compare, st.sampled_from(["<", "<=", ">", ">="]), some),
            st.builds(within, some, tolerance),
            st.just(between(low, high)),
            equals,
        )
    )
    return kind, value


@given(expected_values())
def test_what_is_shown_reads_back_as_the_same(case):
    """`str` and `parse_expected` are inverse."""
    kind, value = case
    assert value == parse_expected(str(value), quantity_of(kind))


@given(
    st.sampled_from(sorted(PLAIN)),
    st.recursive(
        st.one_of(
            st.text(max_size=30),
            st.text("0123456789.,<>=±+-% MGiBKx", max_size=16),
            st.none(), st.booleans(), st.integers(), st.floats(),
        ),
        lambda inside: st.one_of(st.lists(inside, max_size=3), st.dictionaries(st.text(max_size=3), inside)),
        max_leaves=4,
    ),
)  # fmt: skip
def test_nonsense_is_a_usage_error_and_nothing_else(name, value):
    """Whatever stands in a file, nobody sees a traceback; what is read shows itself in the grammar."""
    quantity = find_quantity(name)
    expected = None
    with contextlib.suppress(UsageError):
        expected = parse_expected(value, quantity)
    assert expected is None or expected == parse_expected(str(expected), quantity)


@given(st.text(max_size=40))
def test_a_name_is_a_quantity_or_a_usage_error(name):
    """Names are as safe as values."""
    found = name
    with contextlib.suppress(UsageError):
        found = find_quantity(name).name
    assert name.partition(".")[0] == found.partition(".")[0]


@pytest.mark.parametrize(
    ("name", "text", "held", "broken"),
    [
        ("encoder_tokens", "602", [602], [601, 603]),
        ("parameters", "52M", [51_571_590, 52_400_000], [51_400_000, 52_600_000]),
        ("parameters", "51,571,590", [51_571_590], [51_571_591]),
        ("parameters", "51.6M ± 0.1M", [51_571_590, 51_700_000], [51_700_001, 51_499_999]),
        ("parameters", "50M +- 4 %", [52_000_000, 48_000_000], [52_000_001]),
        ("oom.segment", "76 MiB", [76 * MIB], [77 * MIB]),
        ("peak_allocated", "< 13 GiB", [13 * GIB - 1], [13 * GIB]),
        ("peak_allocated", "at most 13 GiB", [13 * GIB], [13 * GIB + 1]),
        ("peak_reserved", "12 GiB .. 14 GiB", [12 * GIB, 14 * GIB], [14 * GIB + 1]),
        ("max_batch_size", ">= 32", [32, 57], [31]),
        ("headroom", "> 0", [1], [0, -1]),
        ("headroom", "-4 GiB", [-4 * GIB], [4 * GIB]),
        ("share.encoder", "27 % ± 3 %", [Decimal(30), Decimal("24.5")], [Decimal("30.1")]),
        ("verdict", "fits or tight", ["fits", "tight"], ["oom"]),
        ("verdict", ["fits", "tight"], ["fits", "tight"], ["oom"]),
        ("encoder_tokens", [100, 602], [100, 602], [162]),
        ("oom.module", "model.encoder", ["model.encoder", "model.encoder.layers.3"], ["model.encoders"]),
    ],
)
def test_each_form_holds_for_what_it_says(name, text, held, broken):
    """A figure is as precise as it is written; bounds, ranges and tolerances are exact."""
    expected = parse_expected(text, find_quantity(name))
    assert ([True] * len(held), [False] * len(broken)) == (
        [expected.holds(value) for value in held],
        [expected.holds(value) for value in broken],
    )


def test_every_name_of_a_quantity_is_found():
    """How a part is spelled does not count."""
    assert all(name == find_quantity(name).name for name in quantity_names())
    assert "share.encoder.attention maps" == find_quantity("share.encoder.attention_maps").name
    assert "parameters.VAE encoder" == find_quantity("parameters.vae_encoder").name
    assert "memory.U-Net" == find_quantity("memory.unet").name


def test_the_words_are_those_of_traces_and_results():
    """The grammar repeats them, because it may not import a trace."""
    assert model.PHASES == PHASES
    assert (*model.KINDS, "workspaces", "allocator slack") == HOLDERS
    assert set(Verdict) - {"error"} == set(VERDICTS)
    layer = "model.encoder.layers.0"
    made = [
        (f"{layer}.self_attn", "aten.mm.default"),
        ("model.backbone.layer1", "aten.relu.default"), ("model", "aten.add.Tensor"),
        (f"{layer}.linear1", "aten.addmm.default"), (layer, "aten.add.Tensor"),
    ]  # fmt: skip
    assert set(GROUPS) == {MAPS, *(group_of(module, op) for module, op in made)}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads a text as `s.yaml`."""
    monkeypatch.chdir(tmp_path)

    def load_text(content):
        Path("s.yaml").write_text(content, encoding="utf-8")
        return load_scenario("s.yaml")

    return load_text


GRID = SETTINGS + "used_by_others: 1GiB\nsweep:\n  batch_size: [8, 16]\n  cameras: [1, 2]\n"


def test_where_selects_cells_and_at_states_one(load):
    """`where` narrows the grid; `at` is the grid's first cell with other fields; neither is all cells."""
    entries = load(
        GRID + "expect:\n"
        "  - encoder_tokens: 602\n"
        "  - where: {batch_size: 16}\n    verdict: oom\n"
        "  - at: {batch_size: 99, capacity: 20GiB, set: {n_heads: 4}}\n    verdict: fits\n"
    ).expectations
    assert [4, 2, 1] == [len(entry.cells) for entry in entries]
    assert {16} == {cell.batch_size for cell in entries[1].cells}
    assert Cell(
        overrides={"chunk_size": 7, "n_heads": 4}, batch_size=99, cameras=1, capacity_bytes=20 * GIB,
        used_by_others_bytes=GIB,
    ) == entries[2].cells[0]  # fmt: skip
    assert ["all 4 runs of the grid", "where batch size 16"] == [entry.scope for entry in entries[:2]]
    assert 5 == len(expected_cells(entries))


def test_a_ratio_is_against_the_same_cells_changed(load):
    """Each cell has its partner."""
    (entry,) = load(
        GRID + "expect:\n  - encoder_tokens: {ratio_to: {resolution: 224x224}, expect: 6}\n"
    ).expectations
    assert RATIO == entry.quantity.kind
    assert [("640x480", "224x224", 0)] * 4 == [
        (cell.resolution, other.resolution, cell.batch_size - other.batch_size)
        for cell, other in zip(entry.cells, entry.against, strict=True)
    ]


def test_another_gpu_moves_all_but_what_names_its_own(load):
    """`--gpu` replaces the scenario's GPU, not the one of an expectation."""
    scenario = load(
        "gpu: 3090\nexpect:\n  - verdict: fits\n  - at: {gpu: A100 80GB}\n    verdict: fits\n"
        "  - at: {capacity: 9GiB}\n    verdict: oom\n"
    ).with_gpu("RTX 4090")
    assert ["RTX 4090", "A100 80 GB", "RTX 3090"] == [e.cells[0].gpu for e in scenario.expectations]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("encoder_token: 602", "unknown quantity 'encoder_token'; did you mean encoder_tokens"),
        ("share.encodr: 5 %", "unknown quantity 'share.encodr'; did you mean share.encoder"),
        ("peak_allocated: 13", "peak_allocated: '13': has no unit; add one of B, KiB"),
        ("parameters: 3 GiB", "parameters: '3 GiB': the unit 'GiB' is not one of K, M, G"),
        ("verdict: fitting", "verdict is never 'fitting'; it is one of fits, tight, oom, unknown"),
        ("max_batch_size: many", "max_batch_size cannot be 'many'; write like 602"),
        ("encoder_tokens:", "encoder_tokens cannot be nothing"),
        ("retries: 3 .. 1", "retries: the range '3 .. 1' has nothing in it"),
        ("retries: 3 ± -1", "retries: the tolerance '-1' is negative"),
        ("claim: only words", "it expects nothing; add a quantity"),
        ("where: {batch_size: 32}\n    retries: 0", "where selects no run: batch_size never is 32"),
        ("where: {resolution: 64x64}\n    retries: 0", "where selects by axes, and resolution is not"),
        ("where: {batchsize: 8}\n    retries: 0", "unknown key 'batchsize'; did you mean batch_size"),
        ("at: {batchsize: 8}\n    retries: 0", "unknown key 'batchsize'; did you mean batch_size"),
        ("at: {batch_size: 0}\n    retries: 0", "batch_size must be at least 1"),
        (
            "at: {cameras: 1}\n    where: {batch_size: 8}\n    retries: 0",
            "where selects runs of the grid, ",
        ),
        ("retries: {ratio_to: {cameras: 1}}", "retries is a mapping without exactly ratio_to and expect"),
        ("verdict: {ratio_to: {cameras: 1}, expect: 1}", "verdict is a word and has no ratio"),
        ("retries: {ratio_to: {camera: 1}, expect: 1}", "unknown key 'camera'; did you mean cameras"),
        ("retries: {ratio_to: 3, expect: 1}", "ratio_to must be a mapping"),
    ],
)
def test_each_mistake_is_told_with_its_line(load, entry, said):
    """What is wrong, where, and what to write."""
    with pytest.raises(ScenarioError) as caught:
        load(f"sweep:\n  batch_size: [8, 16]\n\nexpect:\n  - {entry}\n")
    found = str(caught.value)
    line = 5 + entry[: entry.rfind(marks)].count("\n") if (marks := "\n    ") in entry else 5
    assert found.startswith("s.yaml:")
    assert int(found.split(":")[1]) in (5, line, line + 1)
    assert said in found
