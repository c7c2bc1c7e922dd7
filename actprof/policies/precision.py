"""The precision in which a policy's forward pass runs."""

from __future__ import annotations

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies import policy_spec
from actprof.policies.lerobot_versions import amp_sets_autocast, dtype_sets_autocast

_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def autocast_of(cell: Cell) -> str:
    """Return the precision of autocast on CUDA, `fp32` where it is off; else `fp16` or `bf16`.

    As `train` in lerobot/scripts/lerobot_train.py decides in 0.6.1: a policy whose config has a `dtype` goes
    by that alone, unless it names none (`auto`); of others `use_amp` asks for autocast's default, which is
    fp16 on CUDA, and the rest is left to the launcher. Other releases do not read one or both, and leave more
    to the launcher, or from 0.6.2 on to `--accelerator.mixed_precision`.

    Raises:
        UsageError: the cell asks for a precision that lerobot would not take from a launcher.
    """
    spec = policy_spec(cell.policy)
    if not spec.dtype or not dtype_sets_autocast():
        wanted = not spec.dtype and amp_sets_autocast() and cell.overrides.get("use_amp", spec.use_amp)
        return "fp16" if cell.precision == "fp32" and wanted else cell.precision
    own = str(cell.overrides.get("dtype", spec.dtype))
    found = _NAMES.get(own, cell.precision)
    if cell.precision not in ("fp32", found):
        wanted = next(name for name, precision in _NAMES.items() if precision == cell.precision)
        raise UsageError(
            f"lerobot takes {cell.policy}'s precision from the policy alone, here dtype={own}, and no "
            f"launcher changes it; instead of precision {cell.precision} set dtype={wanted}"
        )
    return found
