"""pi0-FAST, `lerobot/policies/pi0_fast/modeling_pi0_fast.py`: actions are tokens that PaliGemma predicts."""

from __future__ import annotations

from typing import Any

from actprof.cell import Cell
from actprof.policies import paligemma
from actprof.policies.spec import PolicySpec


def _tokens(cell: Cell) -> Any:
    """Return what stands for both tokenizers: of the text, and of the actions."""
    from torch import Tensor

    from actprof.policies.hub import Tokens

    class TextOrActions(Tokens):
        def __call__(self, given: Any, **options: Any) -> Any:
            """Return a list of tokens for each chunk of actions (chunks, steps, action), as FAST does.

            As many as steps: all are padded to `max_action_tokens`.
            """
            if isinstance(given, Tensor):
                return [[1] * given.shape[1]] * given.shape[0]
            return super().__call__(given, **options)

        def encode(self, text: str, **_options: Any) -> list[int]:
            return [1] * len(text.split())

    return TextOrActions(cell.task_tokens, vocab_size=257_152)


SPEC = PolicySpec(
    name="pi0_fast",
    title="pi0-FAST",
    sizeless=paligemma.SIZELESS
    | {"fast_skip_tokens", "max_decoding_steps", "temperature", "use_kv_cache", "validate_action_token_prefix"},
    extra="pi",
    tokens=_tokens,
    reads_task=True,
    pads_task=True,
    dtype="float32",
    parts=paligemma.PARTS,
    components=paligemma.COMPONENTS,
    other_component=paligemma.OTHER,
    token_module=paligemma.TOKENS_ENTER,
    line_modules=paligemma.LINES,
    grounded=False,
)
