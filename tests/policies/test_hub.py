"""Models are built from configurations alone, and tokenizers only say how long texts are."""

import pytest
import torch
import transformers

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies.hub import Tokens, without_hub

_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
TINY = {
    "model_type": "clip",
    "text_config": {
        **_TOWER,
        "model_type": "clip_text_model",
        "vocab_size": 50,
        "max_position_embeddings": 6,
    },
    "vision_config": {**_TOWER, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 16},
}


@pytest.fixture
def hub(monkeypatch):
    """Enter `without_hub` with one tiny model, and no way to the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return without_hub(Cell(task_tokens=5), {"tiny/clip": TINY}, lambda cell: Tokens(cell.task_tokens))


@pytest.mark.parametrize(
    ("per_task", "options", "tokens"),
    [
        (0, {"max_length": 48, "padding": "longest"}, 48),
        (12, {"max_length": 48, "padding": "longest"}, 12),
        (60, {"max_length": 48, "padding": "longest"}, 48),
        (12, {"max_length": 48, "padding": "max_length"}, 48),
        (12, {}, 12),
    ],
)
def test_a_text_has_as_many_tokens_as_the_cell_says(per_task, options, tokens):
    """Unless they are padded or cut to a length; 0 are as many as there may be."""
    found = Tokens(per_task)(["a", "b", "c"], **options)

    assert (3, tokens) == tuple(found["input_ids"].shape) == tuple(found["attention_mask"].shape)
    assert {torch.int64} == {found["input_ids"].dtype, found["attention_mask"].dtype}
    assert (1, tokens) == tuple(Tokens(per_task)("a", **options)["input_ids"].shape)


def test_a_special_token_has_the_number_that_it_is_given():
    """Others have some."""
    tokens = Tokens(3, image_token_id=7)

    assert (7, 1, [1, 1]) == (
        tokens.tokenizer.image_token_id,
        tokens.convert_tokens_to_ids("<a>"),
        tokens.convert_tokens_to_ids(["<a>", "<b>"]),
    )


def test_a_model_is_built_from_its_written_configuration(hub):
    """With the dtype that is asked for, ready to be used."""
    with hub:
        tower = transformers.CLIPVisionModel.from_pretrained("tiny/clip")
        half = transformers.AutoModel.from_pretrained("tiny/clip", dtype=torch.bfloat16)
    assert (16, False) == (tower.config.hidden_size, tower.training)
    assert {torch.float32} == {parameter.dtype for parameter in tower.parameters()}
    assert {torch.bfloat16} == {parameter.dtype for parameter in half.parameters()}


def test_tokenizers_and_processors_are_stand_ins(hub):
    """Of whatever repository."""
    with hub:
        for giver in (transformers.AutoTokenizer, transformers.AutoProcessor):
            assert (1, 5) == tuple(giver.from_pretrained("some/where")("a")["input_ids"].shape)


def test_the_configuration_in_the_users_cache_is_preferred(hub, monkeypatch):
    """It is newer than what is written down."""
    cached = {**TINY["vision_config"], "hidden_size": 8}
    monkeypatch.setattr(
        transformers.PreTrainedConfig, "get_config_dict", classmethod(lambda *_, **__: (cached, {}))
    )
    with without_hub(Cell(), {"tiny/clip": TINY}, lambda _cell: None):
        tower = transformers.CLIPVisionModel.from_pretrained("tiny/clip")
    assert 8 == tower.config.hidden_size


def test_a_model_that_nobody_knows_is_refused(hub):
    """By the name of its repository."""
    with (
        hub,
        pytest.raises(UsageError, match="configuration of some/clip is neither in the Hugging Face cache"),
    ):
        transformers.CLIPVisionModel.from_pretrained("some/clip")


def test_transformers_is_itself_afterwards(hub):
    """Nothing stays patched."""
    owners = (transformers.PreTrainedModel, transformers.AutoModel, transformers.AutoTokenizer)
    before = [vars(owner).get("from_pretrained") for owner in owners]
    with hub:
        pass
    assert before == [vars(owner).get("from_pretrained") for owner in owners]
