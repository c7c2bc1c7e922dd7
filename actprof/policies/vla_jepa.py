"""VLA-JEPA, `lerobot/policies/vla_jepa/modeling_vla_jepa.py`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.policies.qwen import QWEN3_VL
from actprof.policies.spec import PolicySpec


def _processor(_cell: Cell) -> Any:
    from actprof.policies.qwen import qwen_processor

    return qwen_processor("Qwen3VLProcessor")


def _stand_ins(_cell: Cell) -> AbstractContextManager[object]:
    """Give the processor of its video encoder, whose configuration on the Hub is the default one."""
    import transformers

    def processor(_name: str) -> Any:
        return transformers.VJEPA2VideoProcessor()

    return mock.patch.object(transformers.AutoVideoProcessor, "from_pretrained", processor)


SPEC = PolicySpec(
    name="vla_jepa",
    title="VLA-JEPA",
    history=lambda config: config["num_video_frames"],
    extra="vla_jepa",
    models={
        "Qwen/Qwen3-VL-2B-Instruct": QWEN3_VL,
        # transformers has the rest of its config.json as defaults of `VJEPA2Config`.
        "facebook/vjepa2-vitl-fpc64-256": {"model_type": "vjepa2", "image_size": 256},
    },
    tokens=_processor,
    stand_ins=_stand_ins,
    reads_task=True,
    reads_all=True,
    follows_values=True,
    options={"freeze_qwen": False, "resize_images_to": None},
    resized_by="resize_images_to",
    components=(
        ("model.qwen.model.model.visual", "vision tower"),
        ("model.qwen", "language model"),
        ("model.video_encoder", "video encoder"),
        ("model.video_predictor", "world model"),
        ("model.action_model", "action head"),
    ),
    assumptions=("the video encoder was taken to see frames of 256x256 pixels, as large as its crop",),
    grounded=False,
)
