"""The predictions against numbers that others measured on real GPUs and published.

The numbers, with their sources, are rows of the accuracy ledger: an RTX 5060 Ti 16 GB (torch 2.11.0+cu128,
`mem_gb` of lerobot-train) and the SO-101 baseline with chunk size 50 on an RTX 3090.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import actprof
from actprof.ledger.keep import read_rows, refresh
from actprof.prediction.predict import predict_cell
from actprof.units import GIB, format_bytes

LEDGER = Path(__file__).resolve().parents[1] / "reports" / "accuracy"
BASELINE = {"chunk_size": 50, "n_action_steps": 50}
TOLERANCE = 0.01


def published(gpu, batch_size, **fields):
    """Return the one published row of a GPU and batch size; `fields` of its cell choose among several."""
    rows = [
        row
        for row in read_rows(LEDGER)
        if (row.origin, row.gpu, row.cell.batch_size) == ("published", gpu, batch_size)
        and all(bool(getattr(row.cell, name)) == wanted for name, wanted in fields.items())
    ]
    (row,) = rows
    return row


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_allocated_memory_is_what_was_measured(batch_size):
    """Two cameras 640x480, chunk 100, fp32, AdamW: within a hundredth of a GiB of the published `mem_gb`."""
    row = published("RTX 5060 Ti 16 GB", batch_size)
    result = actprof.predict(batch_size=batch_size, gpu="RTX 5060 Ti")

    assert row.cell == result.cell
    assert row.measured.allocated_bytes / GIB == pytest.approx(
        result.peak_allocated_bytes / GIB, abs=TOLERANCE
    )
    assert result.runs


def test_batch_64_runs_out_on_the_rtx_5060_ti_as_it_did():
    """The message asks for 708.00 MiB, in the forward pass of the first step, with 15.20 GiB in use."""
    row = published("RTX 5060 Ti 16 GB", 64)
    result = actprof.predict(batch_size=64, gpu="RTX 5060 Ti")

    assert row.cell == result.cell
    assert (row.measured.verdict, 1, "forward") == (result.verdict, result.oom.step, result.oom.phase)
    assert f"Tried to allocate {format_bytes(row.measured.tried_bytes)}" in result.oom.message
    in_use = format_bytes(row.measured.in_use_bytes)
    assert f"this process has {in_use} memory in use" in result.oom.message


def test_the_baseline_runs_out_at_64_and_fits_at_32_on_the_rtx_3090():
    """As observed: 64 ran out of memory, 32 trained for 40,000 steps, with expandable segments."""
    ran = published("RTX 3090", 32, alloc_conf=True)
    ran_out = published("RTX 3090", 64, used_by_others_bytes=True)
    alone = replace(ran_out.cell, used_by_others_bytes=0)

    assert BASELINE == ran.cell.overrides == ran_out.cell.overrides
    assert ("oom", "oom") == (ran_out.measured.verdict, predict_cell(ran_out.cell).verdict)
    assert "oom" == predict_cell(alone).verdict
    assert "fits" == predict_cell(replace(alone, batch_size=32)).verdict
    assert ("ran", "fits") == (ran.measured.verdict, predict_cell(ran.cell).verdict)


@pytest.mark.parametrize("alloc_conf", ["", "expandable_segments:True"])
def test_held_to_what_the_process_had_it_asks_for_what_was_asked(alloc_conf):
    """A process held to 20.94 GiB runs out inside the encoder's layers, asking for 76.00 MiB."""
    row = published("RTX 3090", 64, capacity_bytes=True)
    result = predict_cell(replace(row.cell, alloc_conf=alloc_conf))
    tried = format_bytes(row.measured.tried_bytes)

    assert row.measured.in_use_bytes == row.cell.capacity_bytes
    assert result.oom.message.startswith(f"CUDA out of memory. Tried to allocate {tried}.")
    assert result.oom.module.startswith("model.encoder.layers")


def test_the_ledger_holds_what_is_predicted_now():
    """Every published row has the present code's prediction; `actprof accuracy --refresh` mends that."""
    rows = [row for row in read_rows(LEDGER) if row.origin == "published"]

    assert rows == list(refresh(rows))


@pytest.mark.parametrize(("resolution", "tokens"), [("640x480", 602), ("320x240", 162), ("224x224", 100)])
def test_tokens_are_read_off_the_encoder(resolution, tokens):
    """Latent, state and one token per 32x32 pixels of two cameras."""
    assert tokens == actprof.predict(overrides=BASELINE, resolution=resolution).encoder_tokens


def test_parameters_are_one_backbone_not_two():
    """51,571,590 with chunk 50: the two cameras share one ResNet-18 of 11.2 million."""
    facts = actprof.params(overrides=BASELINE)
    by_component = {}
    for p in facts.parameters:
        if not p.is_buffer:
            by_component[p.component] = by_component.get(p.component, 0) + p.count

    assert 51_571_590 == facts.parameter_count
    assert 11.2 == pytest.approx(by_component["backbone"] / 1e6, abs=0.05)
    assert 17.3 == pytest.approx(by_component["encoder"] / 1e6, abs=0.05)
    assert 17.3 == pytest.approx(by_component["VAE encoder"] / 1e6, abs=0.05)
    assert 5.4 == pytest.approx(by_component["decoder"] / 1e6, abs=0.05)
    assert 0.4 == pytest.approx(by_component["projections and embeddings"] / 1e6, abs=0.05)


def test_attention_maps_are_a_quarter_of_the_baseline_not_all_of_it():
    """At batch 64 the encoder holds over half of the memory; its attention maps 27 % of the whole."""
    breakdown = actprof.predict(overrides=BASELINE, batch_size=64, gpu="H100").breakdown
    encoder = breakdown.activations["encoder"]

    assert 0.27 == pytest.approx(encoder["attention maps"] / breakdown.allocated_bytes, abs=0.02)
    assert 0.36 == pytest.approx(
        sum(breakdown.activations["backbone"].values()) / breakdown.allocated_bytes, abs=0.02
    )
