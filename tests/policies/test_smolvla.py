"""Lerobot's SmolVLA: its tokens, dtypes and frozen parts, traced without the Hub and without a GPU."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from small_cells import check_every_batch_size, with_overrides

from actprof.cell import Cell
from actprof.kernels.indexing import Selection
from actprof.policies import smolvla
from actprof.policies.workload import build_workload
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record, record_trace

MODEL = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
SMALL_TEXT = {
    "head_dim": 16, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
    "num_hidden_layers": 4, "num_key_value_heads": 2, "vocab_size": 49_280,
}  # fmt: skip
SMALL_VISION = {"hidden_size": 48, "image_size": 64, "intermediate_size": 64, "num_attention_heads": 4}
OVERRIDES = {
    "num_vlm_layers": 2, "chunk_size": 8, "n_action_steps": 8, "resize_imgs_with_padding": [64, 64],
}  # fmt: skip
WHOLE = smolvla.SPEC
STATE = 1  # tokens
PER_CAMERA = (64 // 16 // 4) ** 2  # patches of 16 pixels, of which 4 x 4 become a token


@pytest.fixture(scope="module")
def small():
    """SmolVLA of a small language model and vision tower, two layers each."""
    whole = WHOLE.models[MODEL]
    vision = {**whole["vision_config"], **SMALL_VISION, "num_hidden_layers": 2}
    model = {**whole, "text_config": {**whole["text_config"], **SMALL_TEXT}, "vision_config": vision}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smolvla, "SPEC", replace(WHOLE, models={MODEL: model}))
        yield Cell(
            policy="smolvla", overrides=OVERRIDES, resolution="80x60", batch_size=2, task_tokens=5, gpu=None
        )


@pytest.fixture(scope="module")
def trace(small):
    """Return the trace of the small SmolVLA."""
    return record_trace(small)


def trained(cell):
    """Return the paths of the parameters that have gradients."""
    return {parameter.path for parameter in record(cell).policy.parameters if parameter.trainable}


def test_one_trace_serves_every_batch_size(small, trace):
    """Sizes are affine, and the last step repeats."""
    check_every_batch_size(small, trace)


def test_somebody_has_looked_at_every_op(trace):
    """What is assumed is how long tasks are, and how many patches a mask picks."""
    assert not [text for text in trace.assumptions if "nobody has looked at" in text]
    assert any("aten.index.Tensor" in text for text in trace.assumptions)


def test_the_default_policy_has_the_parameters_of_lerobots(monkeypatch):
    """As counted on an H100: 450,046,176, of which the action expert's 99,880,992 are trained."""
    monkeypatch.setattr(smolvla, "SPEC", WHOLE)
    with fake_cuda():
        policy = build_workload(Cell(policy="smolvla", batch_size=1), torch.device("cuda")).policy
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in policy.parameters()]

    assert 450_046_176 == sum(count for count, _ in counts)
    assert 99_880_992 == sum(count for count, wanted in counts if wanted)


@pytest.mark.parametrize(("cameras", "tokens"), [(1, 5), (3, 5), (2, 14)])
def test_tokens_are_those_of_images_task_and_state(small, cameras, tokens):
    """The vision tower makes few of an image; a text is as long as the cell says."""
    found = record(replace(small, cameras=cameras, task_tokens=tokens)).policy

    assert cameras * PER_CAMERA + tokens + STATE == found.encoder_tokens
    assert (OVERRIDES["chunk_size"], 32) == tuple(found.output_shape)


def test_a_text_is_no_longer_than_the_policy_reads(small):
    """`tokenizer_max_length` is its end; shorter ones are padded only where the policy says so."""
    cut = record(replace(with_overrides(small, tokenizer_max_length=9), task_tokens=30)).policy
    padded = record(with_overrides(small, tokenizer_max_length=9, pad_language_to="max_length")).policy

    assert 2 * PER_CAMERA + 9 + STATE == cut.encoder_tokens == padded.encoder_tokens


@pytest.mark.parametrize(
    ("pretrained", "vision"), [(False, torch.float32), (True, torch.bfloat16)], ids=["built", "loaded"]
)
def test_dtypes_are_those_of_the_configuration_or_of_the_weights(small, pretrained, vision):
    """From scratch the text is bf16 and the vision fp32; loaded weights are bf16 throughout."""
    with fake_cuda():
        cell = with_overrides(small, load_vlm_weights=pretrained)
        model = build_workload(cell, torch.device("cuda")).policy.model.vlm_with_expert.vlm.model
    text, tower = (next(part.parameters()).dtype for part in (model.text_model, model.vision_model))

    assert (torch.bfloat16, vision) == (text, tower)


def test_what_is_frozen_has_no_gradients(small):
    """By default expert and projections are trained; the flags add the language model, and its eyes."""
    expert = trained(small)
    text = trained(with_overrides(small, train_expert_only=False))
    everything = trained(with_overrides(small, train_expert_only=False, freeze_vision_encoder=False))

    assert not any(".vlm." in path for path in expert)
    assert expert < text < everything
    assert any("vision_model" in path for path in everything - text)


def test_patches_are_picked_by_a_mask_as_large_as_the_images(small):
    """The vision tower writes positions through one: `nonzero` counts the patches of a batch, twice."""
    recorder = record(replace(small, cameras=1)).recorder
    picked = [
        problem for problem, part in recorder.problems.values() if isinstance(problem, Selection) and not part
    ]

    assert {Selection(2 * (64 // 16) ** 2)} == set(picked)
    assert 2 * 2 == len(picked)  # read and written, in each of two steps


def test_nothing_is_asked_of_the_hub(small, monkeypatch):
    """Neither configuration, weights nor tokenizer: no socket is opened."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: sys.exit("a socket was opened"))
    monkeypatch.setenv("HF_HOME", "/nowhere")

    assert record(small).policy.parameter_count
