"""The GPU in a machine that a cloud rents out, by the machine's name (`machines.toml`, and `jobs.toml`)."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

from actprof.hardware.jobs import flavours

_IN_FRONT = re.compile(r"(?:ml\.|standard_)")  # of SageMaker and Azure


def gpu_of_machine(name: str) -> str:
    """Return the catalogue's name of the GPU in a machine like `g6e.xlarge`; nothing for another name."""
    plain = _IN_FRONT.sub("", name.strip().lower(), count=1)
    if plain in flavours():
        return str(flavours()[plain]["gpu"])
    return next((gpu for pattern, gpu in _machines() if re.fullmatch(pattern, plain)), "")


@cache
def _machines() -> tuple[tuple[str, str], ...]:
    text = resources.files("actprof.hardware").joinpath("machines.toml").read_text(encoding="utf-8")
    return tuple((pattern, gpu) for provider in tomllib.loads(text)["provider"]
                 for pattern, gpu in provider["machines"])  # fmt: skip
