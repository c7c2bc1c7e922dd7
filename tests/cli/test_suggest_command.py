"""`actprof suggest` on hand-made traces."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from actprof.advice.combinations import Combination
from actprof.advice.remedies import offers
from actprof.cell import Cell
from actprof.cli.show_remedies import print_combinations
from actprof.results import GpuUse, Result
from actprof.units import MIB

OPTIONS = ("--set", "chunk_size=7", "--batch-size", 64, "--fast")


@pytest.fixture
def _traces(seed, make_trace):
    """A run that does not fit, and one remedy that makes it."""
    seed(batch_size=64, state_dim=5, trace=make_trace(activation=512 * MIB))
    seed(batch_size=64, state_dim=5, changes=("fused_attention",), trace=make_trace(activation=300 * MIB))


@pytest.mark.usefixtures("_traces")
@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_keeps_within_the_terminal(run, monkeypatch, columns):
    """Start, remedies that do something, and what to do; no line of the table longer than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("suggest", *OPTIONS, "--state-dim", 5)
    lines = shown.out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("remedy"))
    table = lines[start : start + 4]

    assert 0 == shown.code
    assert ["remedy", "as it is", "attention", "batch size"] == [line[:10].strip() for line in table]
    assert max(map(len, table)) <= columns
    assert "samples/s" in table[0]
    assert "\u2026" not in "".join(table)
    assert "attention without stored maps" in shown.out
    assert "module.forward = partial(module.forward, need_weights=False)" in shown.out
    assert "--batch_size=44" in shown.out
    assert "expandable" not in shown.out
    assert "Not traced yet, as another call does: bf16 autocast, " in shown.out


@pytest.mark.usefixtures("_traces")
def test_json_has_the_start_and_every_remedy(run):
    """One object on stdout."""
    data = json.loads(run("suggest", *OPTIONS, "--state-dim", 5, "--json").out)

    assert {"before", "remedies", "untraced", "combinations"} == set(data)
    assert "oom" == data["before"]["verdict"]
    assert ["fused_attention", "smaller_batch"] == [remedy["name"] for remedy in data["remedies"]]
    assert {"bf16", "frozen_backbone"} < set(data["untraced"])
    assert ["fused_attention"] == data["remedies"][0]["after"]["cell"]["changes"]


def test_a_script_needs_no_cell(run):
    """It is printed and nothing else, as the policy needs it."""
    shown = run("suggest", "--script", "fused_attention")
    other = run("suggest", "--policy", "smolvla", "--script", "fused_expert_attention")

    assert "model = policy.model.vlm_with_expert\n" in other.out

    assert (0, "") == (shown.code, shown.err)
    assert "def fused_attention(policy):" in shown.out
    assert shown.out.endswith("lerobot_train.main()\n")


def test_each_combination_says_how_to_apply_it(capsys):
    """Variables and flags to add, and one script with all that is code; what is data is said."""
    known = {offer.name: offer for offer in offers(Cell(batch_size=128))}
    chosen = [
        ("expandable_segments", "resize_224x224"),
        ("accumulate_2", "fused_attention"),
        ("fewer_cameras",),
    ]
    before = Result(
        source="predicted", cell=Cell(batch_size=128), verdict="oom",
        gpu=GpuUse(name="a GPU", capacity_bytes=1, context_bytes=0),
    )  # fmt: skip
    together = [
        Combination(offers=tuple(known[name] for name in names), before=before, after=before)
        for names in chosen
    ]
    (other,) = (offer for offer in offers(Cell(policy="smolvla")) if offer.name == "adamw_8bit")
    together.append(Combination(offers=(other,), before=before, after=before))
    print_combinations(before, together, Console(width=80))
    out = capsys.readouterr().out
    assert (
        "    PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True \\\n    --dataset.image_transforms.enable=true"
        in out
    )
    assert "actprof suggest --script accumulate_2 --script fused_attention > train.py" in out
    assert "actprof suggest --policy smolvla --script adamw_8bit > train.py" in out
    assert "lerobot-edit-dataset" in out
