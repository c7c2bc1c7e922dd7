"""pi0.5, `lerobot/policies/pi05/modeling_pi05.py`; the state is read as text, beside the task."""

from __future__ import annotations

from actprof.policies import paligemma
from actprof.policies.spec import PolicySpec

SPEC = PolicySpec(
    name="pi05",
    title="pi0.5",
    sizeless=paligemma.SIZELESS,
    extra="pi",
    reads_task=True,
    pads_task=True,
    dtype="float32",
    parts=paligemma.PARTS,
    components=paligemma.COMPONENTS,
    other_component=paligemma.OTHER,
    token_module=paligemma.TOKENS_ENTER,
    output_module="model.action_out_proj",
    line_modules=paligemma.LINES,
    grounded=False,
)
