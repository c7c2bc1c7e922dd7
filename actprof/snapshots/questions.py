"""What a user asks of a recording, as questions for its replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actprof.allocator.config import AllocatorConfig
from actprof.errors import UsageError
from actprof.hardware import builtin_catalogue, find_device
from actprof.units import format_bytes, parse_bytes

DEFAULTS = "PyTorch's defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to replay a recording under.

    Attributes:
        label: of the column.
        config: the allocator's settings; the recorded ones where it is None.
        available_bytes: what the process can reserve; None without limit.
        total_bytes: the memory of the device, for the memory fraction.
    """

    label: str
    config: AllocatorConfig | None = None
    available_bytes: int | None = None
    total_bytes: int | None = None


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
    if gpu is not None and capacity is not None:
        raise UsageError("give --gpu or --capacity, not both: either says how much memory there is")
    texts: list[str | None] = [*compare]
    where, available, total = "", None, None
    if gpu is not None or capacity is not None:
        size = None if capacity is None else parse_bytes(capacity)
        device = find_device(gpu, size, catalogue=builtin_catalogue())
        available, total = device.available_bytes, device.gpu.capacity_bytes
        where = f" on {gpu or format_bytes(total)}"
    if alloc_conf is not None or total is not None:
        texts.insert(0, alloc_conf)
    questions = []
    for text in texts:
        config = None if text is None else AllocatorConfig.parse(text)
        label = "recorded settings" if config is None else str(config) or DEFAULTS
        questions.append(
            Question(label=label + where, config=config, available_bytes=available, total_bytes=total)
        )
    return tuple(questions)
