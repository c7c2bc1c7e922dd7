"""What is offered for a cell, before anybody knows what it does."""

from dataclasses import replace

import pytest

from actprof.advice.remedies import CODE, FLAG, KINDS, LOSSLESS, Offer, combine, offers
from actprof.cell import CELL_FIELDS, CHANGES, Cell
from actprof.preflight_check.command_line import CommandLine
from actprof.preflight_check.launcher import launch_of

CELL = Cell(batch_size=64)


def by_name(cell, **options):
    """Return the offers of a cell by their names."""
    return {offer.name: offer for offer in offers(cell, **options)}


def test_every_offer_says_how_to_apply_it():
    """A flag, a variable, code, or at least a sentence; and its cell differs."""
    for offer in offers(CELL):
        assert offer.kind in KINDS
        assert offer.flags or offer.environment or offer.code or offer.note
        assert offer.cell != CELL
        assert (offer.cost == CODE) == bool(offer.code)


def test_every_change_is_offered_and_cheap_ones_come_first():
    """The registry of remedies covers the registry of changes."""
    found = offers(CELL)

    assert set(CHANGES) <= {offer.name for offer in found}
    assert "expandable_segments" == found[0].name
    assert sorted(offer.effort for offer in found) == [offer.effort for offer in found]


def test_what_is_done_already_is_not_offered():
    """Nothing is offered twice, and no image is made larger."""
    cell = replace(
        CELL, resolution="224x224", cameras=1, precision="bf16", batch_size=1,
        alloc_conf="expandable_segments:True", changes=("fused_attention",),
    )  # fmt: skip
    names = set(by_name(cell))

    assert not names & {
        "expandable_segments", "fewer_cameras", "bf16", "smaller_batch", "fused_attention", "accumulate_2",
        "resize_320x240", "resize_224x224",
    }  # fmt: skip


@pytest.mark.parametrize(("largest", "size"), [(None, 32), (57, 32), (20, 16), (1, 1), (0, None)])
def test_a_smaller_batch_is_one_that_runs(largest, size):
    """Half of it, or the largest power of two that runs."""
    offer = by_name(CELL, largest=largest).get("smaller_batch")

    assert size == (offer and offer.cell.batch_size)


def test_a_setting_is_added_to_those_that_are_there():
    """The other allocator settings stay."""
    offer = by_name(replace(CELL, alloc_conf="max_split_size_mb:128"))["expandable_segments"]

    assert "max_split_size_mb:128,expandable_segments:True" == offer.cell.alloc_conf
    assert {"PYTORCH_CUDA_ALLOC_CONF": offer.cell.alloc_conf} == offer.environment


def test_bf16_is_asked_of_accelerate():
    """`--policy.use_amp=true` would be fp16: lerobot takes autocast's default dtype of CUDA."""
    import torch

    offer = by_name(CELL)["bf16"]

    assert torch.float16 == torch.get_autocast_dtype("cuda")
    assert ({"ACCELERATE_MIXED_PRECISION": "bf16"}, ()) == (offer.environment, offer.flags)
    assert "bf16" == launch_of(CommandLine(text="", arguments=()), around=offer.environment).precision


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"overrides": {"use_amp": True}}])
def test_halves_are_not_offered_with_loss_scaling(change):
    """The script's first backward pass does not go through accelerate's scaler."""
    assert "accumulate_2" in by_name(CELL)
    assert "accumulate_2" not in by_name(replace(CELL, **change))


def test_lossless_offers_leave_inputs_batch_and_precision_alone():
    """Only the allocator's settings and changes in Python differ."""
    for offer in offers(CELL):
        if offer.kind == LOSSLESS:
            assert CELL == replace(offer.cell, alloc_conf="", changes=())


def test_a_combination_has_all_of_its_parts():
    """Changes add up, fields are replaced."""
    known = by_name(replace(CELL, changes=("channels_last",)))
    names = ("fused_attention", "checkpoint_backbone", "bf16", "resize_224x224")
    cell = combine(replace(CELL, changes=("channels_last",)), tuple(known[name] for name in names))

    assert ("channels_last", "checkpoint_backbone", "fused_attention") == cell.changes
    assert ("bf16", "224x224", 64) == (cell.precision, cell.resolution, cell.batch_size)


# For every field of a cell, another value than `CELL` has.
OTHERS = {
    "policy": "diffusion", "overrides": {"chunk_size": 50}, "cameras": 1, "resolution": "224x224",
    "batch_size": 32, "state_dim": 7, "action_dim": 7, "optimizer": "sgd", "precision": "bf16",
    "alloc_conf": "expandable_segments:True", "gpu": "RTX 4090", "capacity_bytes": 2**34,
    "used_by_others_bytes": 2**30, "cudnn_benchmark": False, "changes": ("fused_adamw",),
}  # fmt: skip


def offer_of(cell):
    """Return a remedy that makes `cell` of whatever it is offered for."""
    return Offer(name="other", title="", family="", kind=LOSSLESS, cost=FLAG, cell=cell)


@pytest.mark.parametrize("name", [part.name for part in CELL_FIELDS])
def test_a_combination_keeps_whatever_field_a_remedy_changes(name):
    """Together with any other remedy, before and after it."""
    another = {"cameras": 3} if name == "resolution" else {"resolution": "320x240"}
    changed = [offer_of(replace(CELL, **fields)) for fields in ({name: OTHERS[name]}, another)]

    assert replace(CELL, **{name: OTHERS[name]}, **another) == combine(CELL, tuple(changed))
    assert combine(CELL, tuple(changed)) == combine(CELL, tuple(reversed(changed)))


def test_a_combination_unites_fields_of_the_config():
    """What two remedies set is set, and what neither touches stays."""
    start = replace(CELL, overrides={"chunk_size": 100, "dim_model": 512})
    remedies = (
        offer_of(replace(start, overrides={**start.overrides, "chunk_size": 50})),
        offer_of(replace(start, overrides={**start.overrides, "use_vae": False})),
    )

    assert {"chunk_size": 50, "dim_model": 512, "use_vae": False} == combine(start, remedies).overrides
