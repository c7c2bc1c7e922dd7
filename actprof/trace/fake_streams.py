"""CUDA streams and events that do not exist: they order nothing, and say which pool an allocation is from.

PyTorch's allocator gives memory back to the stream that asked for it, so that what runs beside the default
stream (FSDP's collectives) shares no memory with what runs on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

_current: list[FakeStream] = []  # the innermost last; empty on the default stream


class FakeEvent:
    """Stands for `torch.cuda.Event`: whatever it waits for has happened."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass

    def record(self, *_streams: Any) -> FakeEvent:
        """Nothing is recorded."""
        return self

    def wait(self, *_streams: Any) -> None:
        """Nothing is waited for."""

    synchronize = wait

    def query(self) -> bool:
        """Return that it has happened."""
        return True


class FakeStream:
    """Stands for `torch.cuda.Stream`; its number is 0 for the default stream, else as they were made."""

    def __init__(self, number: int) -> None:
        self.number = number

    def wait_event(self, _event: Any) -> None:
        """Nothing is waited for."""

    wait_stream = wait_event

    def synchronize(self) -> None:
        """Nothing is waited for."""

    def record_event(self, event: FakeEvent | None = None) -> FakeEvent:
        """Return an event that has happened."""
        return event or FakeEvent()


_DEFAULT = FakeStream(0)


def _current_stream(*_devices: Any) -> FakeStream:
    return _current[-1] if _current else _DEFAULT


def current_stream_number() -> int:
    """Return the number of the stream that is current inside `fake_streams`; 0 anywhere else."""
    return _current_stream().number


@contextmanager
def _stream(stream: FakeStream | None) -> Iterator[None]:
    _current.append(stream or _current_stream())
    try:
        yield
    finally:
        _current.pop()


@contextmanager
def fake_streams() -> Iterator[None]:
    """Inside, `torch.cuda` has one device, whose streams and events ask no driver."""
    made: list[FakeStream] = []

    def new_stream(*_args: Any, **_options: Any) -> FakeStream:
        made.append(FakeStream(len(made) + 1))
        return made[-1]

    stand_ins: dict[str, Any] = {
        "Stream": new_stream,
        "Event": FakeEvent,
        "stream": _stream,
        "current_stream": _current_stream,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
    }
    with ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        yield
