"""Remedies that are fields of a policy's own config: what learns, what is checkpointed, how texts are padded.

Which of them a policy has is said by `PolicySpec.options`; a field that has the better value already is not
offered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from actprof.advice.offer import FLAG, INPUT, MODEL, Offer
from actprof.cell import Cell
from actprof.policies import policy_spec
from actprof.policies.changes import LOSSLESS

PARTS = "trained parts"  # the family of remedies by which less of the policy learns
_TEXT = "texts"
_FROZEN = {
    "family": PARTS,
    "kind": MODEL,
    "note": "only for a pretrained policy (--policy.path=…): what does not learn must know something",
}
_CHECKPOINTED = {"title": "gradient checkpointing", "family": "layers", "kind": LOSSLESS}
_NO_LANGUAGE = {"title": "frozen language model", "burden": 2.0, **_FROZEN}
# Of a field: what a remedy sets it to, and what is said of that; see `Offer`.
_SWITCHES: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "gradient_checkpointing": (True, _CHECKPOINTED),
    "use_gradient_checkpointing": (True, _CHECKPOINTED),
    "freeze_vision_encoder": (True, {"title": "frozen vision tower", "burden": 2.0, **_FROZEN}),
    "freeze_language_encoder": (True, _NO_LANGUAGE),
    "freeze_qwen": (True, _NO_LANGUAGE),
    "freeze_video_expert": (True, {"title": "frozen video expert", "burden": 2.0, **_FROZEN}),
    "train_expert_only": (True, {"title": "only the expert learns", "burden": 2.5, **_FROZEN}),
    "pad_language_to": ("longest", {"title": "shorter padding", "family": _TEXT, "kind": INPUT}),
}
# Where a policy pads frames to a size of its own: a quarter of SmolVLA's 512x512.
_FRAMES, _SMALLER = "resize_imgs_with_padding", [256, 256]


def policy_offers(cell: Cell) -> Iterator[Offer]:
    """Yield what the policy's own fields can do about `cell`."""
    spec = policy_spec(cell.policy)
    for name, (value, said) in _SWITCHES.items():
        if spec.option(cell, name) not in (None, value) and not _is_moot(cell, said["family"]):
            yield _set(cell, name, value, **said)
    length = spec.option(cell, "tokenizer_max_length")
    pads = spec.pads_task or spec.option(cell, "pad_language_to") == "max_length"
    if length and pads and length // 2 >= cell.task_tokens:
        yield _set(
            cell, "tokenizer_max_length", length // 2,
            title=f"texts of {length // 2} tokens", family=_TEXT, kind=INPUT, burden=1.2,
            note="longer ones are cut off: see that none of the dataset's is longer",
        )  # fmt: skip
    frame = spec.option(cell, _FRAMES)
    if frame and frame[0] * frame[1] > _SMALLER[0] * _SMALLER[1]:
        yield _set(
            cell, _FRAMES, _SMALLER,
            title=f"{_SMALLER[1]}x{_SMALLER[0]} inside", family="resolution", kind=INPUT, burden=1.6,
            note="whatever the size of the dataset's frames; a pretrained vision tower has seen larger ones",
        )  # fmt: skip


def _is_moot(cell: Cell, family: str) -> bool:
    """Tell whether what would be frozen is, or nobody knows how long texts are."""
    if family == PARTS:
        return bool(cell.peft or policy_spec(cell.policy).option(cell, "train_expert_only"))
    return family == _TEXT and not cell.task_tokens


def _set(cell: Cell, name: str, value: Any, **said: Any) -> Offer:
    """Return the offer of a field and its value."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return Offer(
        name=name,
        cost=FLAG,
        cell=replace(cell, overrides={**cell.overrides, name: value}),
        flags=(f"--policy.{name}={text}",),
        **said,
    )
