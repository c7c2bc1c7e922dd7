"""What stands for the processors of models around Qwen: their own code over a tokenizer of words.

Images go through transformers' own image processor. A word, a sign and a line's end are a token each, so
that a text of as many words has as many tokens; special tokens have their ids on the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# tokenizer.json of Qwen/Qwen2.5-VL-3B-Instruct and Qwen/Qwen3-VL-2B-Instruct: the ids of both.
_SPECIAL = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|vision_pad|>": 151654,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
_TOKENS = r"\n|\w+|[^\w\s]"
# As many tokens as their templates make of a conversation that has a system message (2.5), or any (3).
_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\\n' }}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}"""


def word_tokenizer(special: Mapping[str, int]) -> Any:
    """Return a tokenizer of words, for chats too, with special tokens of the ids given beside Qwen's."""
    from tokenizers import Regex, Tokenizer  # type: ignore[import-untyped]
    from tokenizers.models import WordLevel  # type: ignore[import-untyped]
    from tokenizers.pre_tokenizers import Split  # type: ignore[import-untyped]
    from transformers import PreTrainedTokenizerFast

    named = {**_SPECIAL, **special}
    ids = {str(number): number for number in range(max(named.values()) + 1)}
    words = Tokenizer(WordLevel({word: n for word, n in ids.items() if n not in named.values()} | named, "0"))
    words.pre_tokenizer = Split(Regex(_TOKENS), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words,
        unk_token="0",  # noqa: S106 - no password
        pad_token="<|endoftext|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=[*named],
        chat_template=_TEMPLATE,
    )


def qwen_processor(kind: str, *, on_host: bool = False) -> Any:
    """Return transformers' processor `kind` over `word_tokenizer`; `on_host` as that which works with PIL."""
    import transformers
    from torch.utils._pytree import tree_map

    class OnHost(transformers.Qwen2VLImageProcessor):
        """Gets its images from the device first."""

        def preprocess(self, images: Any, **options: Any) -> Any:
            return super().preprocess(tree_map(lambda image: image.cpu(), images), **options)

    video_processor, images = _PROCESSORS[kind]
    image_processor = OnHost if on_host else transformers.Qwen2VLImageProcessor
    return getattr(transformers, kind)(
        image_processor=image_processor(**images),
        tokenizer=word_tokenizer({}),
        video_processor=getattr(transformers, video_processor)(),
        chat_template=_TEMPLATE,
    )


# The kind of their video processor, and preprocessor_config.json of Qwen/Qwen2.5-VL-3B-Instruct; of
# Qwen/Qwen3-VL-2B-Instruct and nvidia/Cosmos-Reason2-2B.
_PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2_5_VLProcessor": ("Qwen2VLVideoProcessor", {"min_pixels": 3136, "max_pixels": 12845056}),
    "Qwen3VLProcessor": (
        "Qwen3VLVideoProcessor",
        {
            "patch_size": 16,
            "size": {"shortest_edge": 65536, "longest_edge": 16777216},
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    ),
}
# config.json of Qwen/Qwen2.5-VL-3B-Instruct and of Qwen/Qwen3-VL-2B-Instruct, as far as they decide shapes
# and dtypes.
QWEN2_5_VL: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "qwen2_5_vl_text",
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_attention_heads": 16,
        "num_hidden_layers": 36,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "vision_config": {
        "model_type": "qwen2_5_vl",
        "depth": 32,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "tokens_per_second": 2,
        "window_size": 112,
    },
}
QWEN3_VL: dict[str, Any] = {
    "model_type": "qwen3_vl",
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "tie_word_embeddings": True,
    "text_config": {
        "model_type": "qwen3_vl_text",
        "torch_dtype": "bfloat16",
        "head_dim": 128,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 262144,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "vision_config": {
        "model_type": "qwen3_vl",
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
        "patch_size": 16,
    },
}
