"""GR00T N1.7, `lerobot/policies/groot/modeling_groot.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.policies.spec import PolicySpec

_BASE = "nvidia/GR00T-N1.7-3B"


@contextmanager
def _stand_ins(_cell: Cell) -> Iterator[None]:
    """Give the processor of its backbone, and its images the policy's device; fetch no snapshot."""
    import torch
    from lerobot.policies.groot import groot_n1_7, processor_groot

    from actprof.policies.qwen import qwen_processor

    class Encode(processor_groot.GrootN17VLMEncodeStep):  # type: ignore[misc]
        """Its own step, which asks whether the device is there before it works on it."""

        def _target_device(self) -> torch.device:
            return torch.device(self.device)

        @cached_property
        def proc(self) -> Any:
            """The processor, with lerobot's side of the padding."""
            processor = qwen_processor("Qwen3VLProcessor")
            processor.tokenizer.padding_side = "left"
            return processor

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(groot_n1_7, "snapshot_download", lambda name, **_: name))
        stack.enter_context(mock.patch.object(processor_groot, "GrootN17VLMEncodeStep", Encode))
        yield


SPEC = PolicySpec(
    name="groot",
    title="GR00T N1.7",
    extra="groot",
    # Its config.json is what lerobot has as defaults (`GR00T_N1_7_DEFAULTS`), the backbone's as well.
    models={_BASE: {"model_type": "Gr00tN1d7"}},
    stand_ins=_stand_ins,
    reads_task=True,
    reads_all=True,
    follows_values=True,
    sample_loops=("_groot_model.backbone",),
    options={"image_size": (256, 256)},
    resized_by="image_size",
    components=(
        ("_groot_model.backbone.model.model.visual", "vision tower"),
        ("_groot_model.backbone", "language model"),
        ("_groot_model.action_head", "action head"),
    ),
    grounded=False,
    output_module="_groot_model.action_head.action_decoder",
)
