"""EO-1, `lerobot/policies/eo1/modeling_eo1.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.policies.qwen import QWEN2_5_VL
from actprof.policies.spec import PolicySpec


@contextmanager
def _stand_ins(_cell: Cell) -> Iterator[None]:
    """Give the processor of its backbone."""
    import transformers

    from actprof.policies.qwen import qwen_processor

    def processor(_name: str, *, use_fast: bool) -> Any:
        return qwen_processor("Qwen2_5_VLProcessor", on_host=not use_fast)

    with mock.patch.object(transformers.Qwen2_5_VLProcessor, "from_pretrained", processor):
        yield


SPEC = PolicySpec(
    name="eo1",
    title="EO-1",
    extra="eo1",
    models={"Qwen/Qwen2.5-VL-3B-Instruct": QWEN2_5_VL},
    stand_ins=_stand_ins,
    reads_task=True,
    reads_all=True,
    follows_values=True,
    dtype="auto",
    options={"gradient_checkpointing": False, "image_max_pixels": 128 * 28 * 28},
    resized_by="image_max_pixels",
    components=(
        ("model.vlm_backbone.model.visual", "vision tower"),
        ("model.vlm_backbone", "language model"),
    ),
    other_component="action and state projections",
    grounded=False,
)
