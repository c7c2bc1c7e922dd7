"""What a user asks of a recording, as questions for its replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actprof.allocator.config import AllocatorConfig
from actprof.errors import UsageError
from actprof.hardware import custom_gpu, find_gpu
from actprof.snapshots.outcome import Question
from actprof.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from actprof.hardware import Gpu

DEFAULTS = "PyTorch's defaults"


def make_questions(
    *,
    gpu: str | None = None,
    capacity: str | int | None = None,
    alloc_conf: str | None = None,
    compare: Sequence[str] = (),
) -> tuple[Question, ...]:
    """Return one question for the device and settings asked for, and one for each of `compare`.

    The device's memory less its CUDA context is what the process can reserve.

    Raises:
        UsageError: a setting, a size or a GPU that cannot be.
    """
    device = _find_device(gpu, capacity)
    available = total = None
    if device is not None:
        total = device.capacity_bytes
        available = max(total - device.context_bytes, 0)
    where = "" if device is None else f" on {gpu or format_bytes(device.capacity_bytes)}"
    questions = []
    if alloc_conf is not None or device is not None:
        config = None if alloc_conf is None else AllocatorConfig.parse(alloc_conf)
        settings = "recorded settings" if config is None else str(config) or DEFAULTS
        questions.append(_question(settings + where, config, available, total))
    for text in compare:
        config = AllocatorConfig.parse(text)
        questions.append(_question((str(config) or DEFAULTS) + where, config, available, total))
    return tuple(questions)


def _find_device(gpu: str | None, capacity: str | int | None) -> Gpu | None:
    if gpu is not None and capacity is not None:
        raise UsageError("give --gpu or --capacity, not both: either says how much memory there is")
    if gpu is not None:
        return find_gpu(gpu)
    return None if capacity is None else custom_gpu(parse_bytes(capacity))


def _question(
    label: str, config: AllocatorConfig | None, available: int | None, total: int | None
) -> Question:
    return Question(label=label, config=config, available_bytes=available, total_bytes=total)
