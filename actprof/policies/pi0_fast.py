"""pi0-FAST, `lerobot/policies/pi0_fast/modeling_pi0_fast.py`: PaliGemma alone; actions are tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actprof.cell import Cell
from actprof.policies import pi0


def _tokens(cell: Cell) -> Any:
    """Return what stands for both tokenizers: of the text, and of the actions."""
    from torch import Tensor

    from actprof.policies.hub import Tokens

    class TextOrActions(Tokens):
        def __call__(self, text: Any, **options: Any) -> Any:
            """Return a list of tokens for each chunk of actions (chunks, steps, action), as FAST does.

            As many as steps, whatever they compress to: all are padded to `max_action_tokens`.
            """
            if isinstance(text, Tensor):
                return [[1] * text.shape[1]] * text.shape[0]
            return super().__call__(text, **options)

        def encode(self, text: str, **_options: Any) -> list[int]:
            return [1] * len(text.split())

    return TextOrActions(cell.task_tokens, vocab_size=257_152)


# Fields of pi0's config that a policy without an action expert lacks.
_OF_THE_EXPERT = {
    "max_period", "min_period", "num_inference_steps", "time_sampling_beta_alpha", "time_sampling_beta_beta",
    "time_sampling_offset", "time_sampling_scale",
}  # fmt: skip

SPEC = replace(
    pi0.SPEC,
    name="pi0_fast",
    title="pi0-FAST",
    bases={"lerobot/pi0fast-base": {}},  # lerobot's defaults; the names of its cameras were out of reach
    sizeless=(pi0.SPEC.sizeless - _OF_THE_EXPERT).union(
        {"fast_skip_tokens", "max_decoding_steps", "temperature", "use_kv_cache"},
        {"validate_action_token_prefix"},
    ),
    tokens=_tokens,
    options={"gradient_checkpointing": False, "tokenizer_max_length": 200, "image_resolution": (224, 224)},
    lora=False,
    parts={"samples apart": ""},
    output_module="",
)  # fmt: skip
