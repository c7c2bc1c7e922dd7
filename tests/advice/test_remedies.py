"""What is offered for a cell, before anybody knows what it does."""

from dataclasses import replace

import pytest

from actprof.advice.offer import CODE, FLAG, KINDS, Offer
from actprof.advice.remedies import combine, first_remedies, offers
from actprof.cell import CELL_FIELDS, Cell
from actprof.policies import policy_names, policy_spec
from actprof.policies.changes import LOSSLESS, fitting_changes
from actprof.training_command.command_line import CommandLine
from actprof.training_command.launcher import launch_of

CELL = Cell(batch_size=64)


def by_name(cell, **options):
    """Return the offers of a cell by their names."""
    return {offer.name: offer for offer in offers(cell, **options)}


@pytest.mark.parametrize("policy", policy_names())
def test_every_offer_says_how_to_apply_it(policy):
    """A flag, a variable, code, or at least a sentence; its cell differs, and each has its own name."""
    cell = replace(CELL, policy=policy, task_tokens=12)
    found = offers(cell)
    for offer in found:
        assert offer.kind in KINDS
        assert offer.flags or offer.environment or offer.code or offer.note
        assert offer.cell != cell
        assert offer.cell == Cell.from_json(offer.cell.to_json())
        assert (offer.cost == CODE) == bool(offer.code)
    assert len(found) == len(by_name(cell))


@pytest.mark.parametrize("policy", policy_names())
def test_every_change_that_fits_is_offered_and_cheap_ones_come_first(policy):
    """The registry of remedies covers the registry of changes."""
    found = offers(replace(CELL, policy=policy))

    fitting = {change.name for change in fitting_changes(policy_spec(policy).parts)}
    assert fitting <= {offer.name for offer in found}
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


@pytest.mark.parametrize(("fitting", "size"), [(None, 32), (57, 57), (20, 20), (1, 1), (0, None), (99, 63)])
def test_a_smaller_batch_is_one_that_fits(fitting, size):
    """As many samples as fit, or half of them where nobody knows how many."""
    offer = by_name(CELL, fitting=fitting).get("smaller_batch")

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
    """Only the allocator's settings, changes in Python and what runs twice differ."""
    for cell in (replace(CELL, policy=policy) for policy in policy_names()):
        for offer in offers(cell):
            if offer.kind == LOSSLESS:
                others = {k: v for k, v in offer.cell.overrides.items() if "gradient_checkpointing" not in k}
                assert cell == replace(offer.cell, alloc_conf="", changes=(), overrides=others)


# -- what a policy's own config has ------------------------------------------------------------------------

SMOLVLA = Cell(policy="smolvla", batch_size=64)


@pytest.mark.parametrize("policy", policy_names())
def test_options_are_fields_of_lerobots_config_with_its_defaults(policy):
    """Else something would be offered that lerobot refuses, or that is so already."""
    from lerobot.policies.factory import make_policy_config

    from actprof.policies.hub import without_hub

    spec = policy_spec(policy)
    if spec.options:
        with without_hub(Cell(policy=policy), spec.models, spec.tokens), spec.stand_ins(Cell(policy=policy)):
            config = make_policy_config(policy, device="cpu")
        assert spec.options == {name: getattr(config, name) for name in spec.options}
    assert spec.resized_by in (*spec.options, "")


@pytest.mark.parametrize("policy", policy_names())
def test_an_adapter_is_offered_where_lerobot_knows_its_place(policy):
    """With the flags that ask for it, and what lerobot wants beside them."""
    from lerobot.policies.factory import get_policy_class
    from lerobot.policies.pretrained import PreTrainedPolicy

    own = get_policy_class(policy)._get_default_peft_targets
    offer = by_name(Cell(policy=policy)).get("lora")
    assert (own is not PreTrainedPolicy._get_default_peft_targets) == (offer is not None)
    if offer is not None:
        assert ("--peft.method_type=LORA", "--peft.r=16") == offer.flags
        assert "--policy.path" in offer.note
        assert "lora" not in by_name(offer.cell)


def test_less_is_trained_only_of_what_is_trained():
    """SmolVLA's expert alone is trained at first; whoever trains all may freeze parts."""
    parts = {"train_expert_only", "freeze_vision_encoder"}
    whole = replace(SMOLVLA, overrides={"train_expert_only": False, "freeze_vision_encoder": False})
    found = by_name(whole)

    assert not parts & set(by_name(SMOLVLA))
    assert parts <= set(found)
    assert not parts & set(by_name(replace(whole, peft={"r": 8})))
    assert ("--policy.train_expert_only=true",) == found["train_expert_only"].flags
    assert found["freeze_vision_encoder"].cell.overrides["freeze_vision_encoder"] is True


def test_images_are_made_smaller_where_the_policy_takes_them_as_they_are():
    """SmolVLA pads whatever it is given to 512x512: that size is a flag of its own."""
    inside = by_name(SMOLVLA)["resize_imgs_with_padding"]
    bare = replace(SMOLVLA, overrides={"resize_imgs_with_padding": None})

    assert not {name for name in by_name(SMOLVLA) if name.startswith("resize_2")}
    assert ("--policy.resize_imgs_with_padding=[256,256]",) == inside.flags
    assert "resize_imgs_with_padding" not in by_name(inside.cell)
    assert "resize_224x224" in by_name(bare)
    assert "resize_224x224" in by_name(replace(CELL, policy="diffusion"))
    assert "resize_224x224" not in by_name(Cell(policy="diffusion", overrides={"resize_shape": [96, 96]}))


def test_texts_are_padded_less_where_all_are_padded_and_none_is_cut():
    """To the longest, if somebody says how long that is; or to half as many tokens."""
    both = {"pad_language_to", "tokenizer_max_length"}
    padded = replace(SMOLVLA, overrides={"pad_language_to": "max_length"})

    assert not both & set(by_name(SMOLVLA))
    assert {"tokenizer_max_length"} == both & set(by_name(padded))
    known = by_name(replace(padded, task_tokens=20))
    assert ("--policy.pad_language_to=longest",) == known["pad_language_to"].flags
    assert 24 == known["tokenizer_max_length"].cell.overrides["tokenizer_max_length"]
    assert "tokenizer_max_length" not in by_name(replace(padded, task_tokens=25))


def test_gradient_checkpointing_is_the_policys_own_flag():
    """Lossless, and not offered twice."""
    offer = by_name(Cell(policy="diffusion"))["gradient_checkpointing"]
    assert (("--policy.gradient_checkpointing=true",), LOSSLESS) == (offer.flags, offer.kind)
    assert "gradient_checkpointing" not in by_name(offer.cell)


@pytest.mark.parametrize(("version", "offered"), [("0.6.1", False), ("0.6.2", True), ("unknown", False)])
def test_batches_are_added_up_where_lerobot_can(monkeypatch, version, offered):
    """Half the batch twice a step; from 0.6.2 on."""
    monkeypatch.setattr("actprof.policies.lerobot_versions.package_version", lambda _name: version)
    offer = by_name(CELL).get("accumulate")
    assert offered == (offer is not None)
    if offer is not None:
        assert (32, 2, 64) == (offer.cell.batch_size, offer.cell.accumulate, offer.cell.step_samples)
        assert ("--batch_size=32", "--accelerator.gradient_accumulation.steps=2") == offer.flags


def test_several_gpus_have_remedies_of_their_own_from_0_6_2_on(monkeypatch):
    """Bucket views, and FSDP with the units that lerobot names; each where the run is under DDP."""
    several = replace(CELL, world_size=4)
    assert {"bucket_view", "fsdp"}.isdisjoint({*by_name(several), *by_name(CELL)})
    monkeypatch.setattr("actprof.policies.lerobot_versions.package_version", lambda _name: "0.6.2")
    found = by_name(several)
    assert ("--accelerator.ddp.gradient_as_bucket_view=true",) == found["bucket_view"].flags
    assert ("--parallelism.dp_shard=-1",) == found["fsdp"].flags
    assert ("fsdp", ("ACTDecoderLayer", "ACTEncoderLayer")) == (
        found["fsdp"].cell.strategy, found["fsdp"].cell.wrap_modules,
    )  # fmt: skip
    assert {"bucket_view", "fsdp"}.isdisjoint(by_name(CELL))
    assert {"bucket_view", "fsdp"}.isdisjoint(by_name(found["fsdp"].cell))
    assert "bucket_view" not in by_name(found["bucket_view"].cell)
    assert "fsdp" not in by_name(replace(several, precision="fp16"))


@pytest.mark.parametrize(
    ("version", "flags", "environment"),
    [
        ("0.6.1", (), {"ACCELERATE_MIXED_PRECISION": "bf16"}),
        ("0.6.2", ("--accelerator.mixed_precision=bf16",), {}),
    ],
)
def test_bf16_is_asked_for_where_lerobot_takes_it_from(monkeypatch, version, flags, environment):
    """Of the launcher, or from 0.6.2 on of lerobot's own flag, which overrules it."""
    monkeypatch.setattr("actprof.policies.lerobot_versions.package_version", lambda _name: version)
    offer = by_name(CELL)["bf16"]
    assert (flags, environment) == (offer.flags, dict(offer.environment))


def test_an_optimizer_of_8_bits_has_no_fused_form():
    """It is offered instead of AdamW, and nothing beside it."""
    offer = by_name(CELL)["adamw_8bit"]
    assert ("adamw_8bit", "optimizer") == (offer.cell.optimizer, offer.family)
    assert not {"adamw_8bit", "fused_adamw"} & set(by_name(offer.cell))
    assert "adamw_8bit" not in by_name(replace(CELL, optimizer="sgd"))


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
    "environment_dim": 3, "task_tokens": 9, "peft": {"r": 8}, "accumulate": 2, "ema": True,
    "used_by_others_bytes": 2**30, "cudnn_benchmark": False, "changes": ("fused_adamw",),
    "world_size": 2, "strategy": "ddp", "find_unused_parameters": False, "gradient_as_bucket_view": True,
    "reshard_after_forward": False, "wrap_modules": ("Block",),
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


# -- what pre-flight looks at --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", policy_names())
def test_the_first_remedies_need_two_further_traces_at_most(policy):
    """What smaller batches and the allocator do is known from the run's own trace."""
    cell = replace(CELL, policy=policy)
    names = first_remedies(cell)
    known = by_name(cell)

    assert {"smaller_batch", "expandable_segments"} <= set(names)
    assert 2 >= len([name for name in names if known[name].cell.trace_key() != cell.trace_key()])
    assert all(known[name].flags for name in first_remedies(cell, in_command=True))


def test_the_first_remedies_are_those_of_the_policy():
    """Smaller images for who takes them as they are, checkpoints and adapters for who has flags for them."""
    assert {"resize_224x224", "fused_attention"} < set(first_remedies(CELL))
    assert {"gradient_checkpointing", "lora"} < set(first_remedies(Cell(policy="pi0")))
    assert "fused_attention" not in first_remedies(CELL, in_command=True)
