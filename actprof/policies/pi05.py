"""pi0.5, `lerobot/policies/pi05/modeling_pi05.py`: pi0 that reads the state as text, beside the task."""

from __future__ import annotations

from dataclasses import replace

from actprof.policies import pi0

SPEC = replace(
    pi0.SPEC,
    name="pi05",
    title="pi0.5",
    bases={"lerobot/pi05_base": pi0.BASE},
    options={**pi0.SPEC.options, "tokenizer_max_length": 200},
)
