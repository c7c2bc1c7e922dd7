"""What stands for the processors of Qwen's vision-language models: their own code over a tokenizer of words.

Images go through transformers' own image processor. A word, a sign and a line's end are a token each, so that a
text of as many words has as many tokens; special tokens have their ids on the Hub.
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
_TAKEN = frozenset(_SPECIAL.values())
_TOKENS = r"\n|\w+|[^\w\s]"
# As many tokens as their templates make of a conversation, which add no system message of their own to one that
# has it (2.5), or to none (3).
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


def qwen_tokenizer() -> Any:
    """Return a tokenizer of words with Qwen's special tokens."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    ids = {str(number): number for number in range(max(_SPECIAL.values()))} | _SPECIAL
    known = {word: number for word, number in ids.items() if word in _SPECIAL or number not in _TAKEN}
    words = Tokenizer(WordLevel(known, unk_token="0"))  # noqa: S106 - no password
    words.pre_tokenizer = Split(Regex(_TOKENS), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<|endoftext|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=[*_SPECIAL],
        chat_template=_TEMPLATE,
    )


def qwen_processor(kind: str, images: Mapping[str, Any]) -> Any:
    """Return transformers' processor `kind` over `qwen_tokenizer`.

    `images` is what `preprocessor_config.json` says of images.
    """
    import transformers

    tokenizer = qwen_tokenizer()
    image_processor = transformers.Qwen2VLImageProcessor(**images)
    video_processor = getattr(transformers, _VIDEO[kind])()
    return getattr(transformers, kind)(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=video_processor,
        chat_template=_TEMPLATE,
    )


_VIDEO = {"Qwen2_5_VLProcessor": "Qwen2VLVideoProcessor", "Qwen3VLProcessor": "Qwen3VLVideoProcessor"}
# preprocessor_config.json of Qwen/Qwen3-VL-2B-Instruct and of nvidia/Cosmos-Reason2-2B.
QWEN3_IMAGES: dict[str, Any] = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "size": {"shortest_edge": 65536, "longest_edge": 16777216},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
