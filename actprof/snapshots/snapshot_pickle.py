"""The pickle that `torch.cuda.memory._dump_snapshot` writes, read into columns in bounded memory.

As soon as the dict of an event is complete it becomes one row; a frame and a stack are kept once. So the
reader holds less than 64 bytes per event (29 in columns, 16 in the memo, the rest while these grow), about 16
for each frame of a distinct stack (at most `_MOST_REFERENCES` of them), and what `plain_unpickler` allows.

Nearly all events of a file have the same keys, and a frame is written out only where it first occurs. Once
one event has been read opcode by opcode, the next ones of its shape are therefore recognised by one regular
expression each.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np

from actprof.snapshots.events import ACTIONS, COLUMN_TYPES, NO_STACK, Events, Frame, Stacks
from actprof.snapshots.plain_unpickler import DROPPED, Items, Marker, PlainUnpickler, Values

_MOST_REFERENCES = 4_000_000  # frames in distinct stacks; stacks that come later are kept without frames
_MOST_SHAPES = 8  # of events that are recognised
_MOST_RUNS = 100_000  # stacks known by their bytes: a cache
_CODES = {name: code for code, name in enumerate(ACTIONS)}
_OTHER = _CODES["other"]

_REFERENCE = re.compile(rb"h.|j.{4}", re.DOTALL)
_RUN = re.compile(rb"((?:h.|j.{4})++)e", re.DOTALL)
_WHOLE = rb"K.|M..|J.{4}|\x8a(?:\x05.{5}|\x06.{6}|\x07.{7}|\x08.{8}|\x04.{4})"
_ANY = rb"(?:" + _WHOLE + rb"|h.|j.{4}|N)"
_PATTERNS = {
    "action": rb"(h.|j.{4})",
    **dict.fromkeys(("addr", "size", "stream"), rb"(" + _WHOLE + rb")"),
    "frames": rb"(?:(\]\x94)(?:\(((?:h.|j.{4})++)e)?|(h.|j.{4}))",
}
_NO_FRAMES = rb"((?!))?((?!))?((?!))?"  # the groups of "frames", where none were recorded
_NEEDED = ("action", "addr", "size", "stream")  # in PyTorch's order; "frames" come behind, if at all
_ORDERS = ([*_NEEDED, "frames"], [*_NEEDED])


class FrameMarker(Marker):
    """Stands for a frame."""


class StackMarker(Marker):
    """Stands for a list of frames."""


class SnapshotUnpickler(PlainUnpickler):
    """Reads one snapshot; afterwards `events` holds the events of all devices in the file's order."""

    def __init__(self, file: BinaryIO, name: str, progress: Callable[[int], None] | None = None) -> None:
        super().__init__(file, name, progress)
        self._action, self._stack = array("B"), array("i")
        self._address, self._size, self._stream = array("q"), array("q"), array("q")
        self._frames: dict[Frame, FrameMarker] = {}
        self._stacks: dict[tuple[int, ...], StackMarker] = {}
        self._references = 0
        self._runs: dict[bytes, StackMarker] = {}
        self._shapes: list[re.Pattern[bytes]] = []
        self._codes: dict[bytes, int] = {}

    @property
    def events(self) -> Events:
        """The events as columns, without a copy."""
        columns = self._action, self._address, self._size, self._stream, self._stack
        typed = zip(columns, COLUMN_TYPES, strict=True)
        return Events(*(np.frombuffer(column, dtype=kind) for column, kind in typed))

    @property
    def stacks(self) -> Stacks:
        """The distinct stacks."""
        return Stacks(tuple(self._frames), tuple(self._stacks))

    @property
    def replaced(self) -> int:
        """How many events have been read."""
        return len(self._action)

    def replace(self, values: Values) -> Any:
        """Return the marker of an event or frame, the row of a block; None for any other dict."""
        if "action" in values and "size" in values:
            self._add_event(values)
            return DROPPED
        if "filename" in values and "name" in values:
            frame = Frame(str(values["filename"]), int(values.get("line") or 0), str(values["name"]))
            marker = self._frames.get(frame)
            if marker is None:
                self.keep(3)
                marker = self._frames[frame] = FrameMarker(len(self._frames))
            return marker
        if "state" in values and "size" in values:
            self._take_stack(values)
            size = values["size"]
            self.keep(4)
            return values.get("address"), size, values.get("requested_size", size), values["state"]
        if "blocks" in values:
            self._take_stack(values)
        return None

    def read_items(self) -> bool:
        """Read a whole stack whose frames are all known."""
        run = _RUN.match(self.window, self.at)
        marker = None if run is None else self._stack_of(run[1])
        if run is None or marker is None:
            return False
        top = self.values[-1]
        self.values[-1] = marker
        if top.place >= 0:
            self.memo[top.place] = marker
        self.at = run.end()
        return True

    def _add_event(self, values: Values) -> None:
        self._action.append(_CODES.get(values["action"], _OTHER))
        self._address.append(values.get("addr", values.get("device_free", 0)))
        self._size.append(values["size"])
        self._stream.append(values.get("stream", 0))
        self._stack.append(self._take_stack(values))
        self._learn_shape(values)

    def _take_stack(self, values: Values) -> int:
        """Return the number of a dict's stack; where the list of its frames stood, its number stays."""
        frames = values.get("frames")
        if isinstance(frames, StackMarker):
            return frames.index
        if not isinstance(frames, Items):
            return NO_STACK
        self.keep(-len(frames))
        marker = self._number(frames)
        if marker is None:
            return NO_STACK
        if frames.place >= 0:
            self.memo[frames.place] = marker
        if "blocks" in values:
            values["frames"] = marker
        return marker.index

    def _number(self, frames: Iterable[Any]) -> StackMarker | None:
        """Return the number of a stack; None where it is not made of frames."""
        found = list(frames)
        if not found or not all(isinstance(frame, FrameMarker) for frame in found):
            return None
        stack = tuple(frame.index for frame in found)
        marker = self._stacks.get(stack)
        if marker is None:
            self._references += len(stack)
            if self._references > _MOST_REFERENCES:
                return StackMarker(NO_STACK)
            marker = self._stacks[stack] = StackMarker(len(self._stacks))
        return marker

    def _stack_of(self, run: bytes) -> StackMarker | None:
        """Return the stack that some references to the memo make; None where they are no frames."""
        marker = self._runs.get(run)
        if marker is None:
            marker = self._number(self.memo[_place(part)] for part in _REFERENCE.findall(run))
            if marker is not None:
                if len(self._runs) >= _MOST_RUNS:
                    self._runs.clear()
                self._runs[run] = marker
        return marker

    def read_ahead(self) -> bool:
        """Read one whole event, if it has a shape that was read opcode by opcode before."""
        for shape in self._shapes:
            match = shape.match(self.window, self.at)
            if match is not None:
                return self._read_event(match)
        return False

    def _read_event(self, match: re.Match[bytes]) -> bool:
        action, address, size, stream, listed, run, stack = match.groups()
        code = self._codes.get(action)
        if code is None:
            name = self.memo[_place(action)]
            code = self._codes[action] = _CODES.get(name, _OTHER) if isinstance(name, str) else -1
        marker: Any = None
        if run is not None:
            marker = self._runs.get(run) or self._stack_of(run)
        elif stack is not None:
            marker = self.memo[_place(stack)]
        if code < 0 or ((run or stack) and not isinstance(marker, StackMarker)):
            return False
        self._action.append(code)
        self._address.append(_whole(address))
        self._size.append(_whole(size))
        self._stream.append(_whole(stream))
        self._stack.append(NO_STACK if marker is None else marker.index)
        self.memo.append(DROPPED)
        if listed is not None:
            self.memo.append(marker)
        self.values.append(DROPPED)
        self.at = match.end()
        return True

    def _learn_shape(self, values: Values) -> None:
        """Make the pattern of events with the same keys in the same order, written in protocol 4 or 5."""
        order = [key for key in values if key in _NEEDED or key == "frames"]
        if order not in _ORDERS or not values.keys() <= self.texts.keys():
            return
        keys = ((key, re.escape(_reference(self.texts[key]))) for key in values)
        shape = b"}\x94\\(" + b"".join(written + _PATTERNS.get(key, _ANY) for key, written in keys)
        shape += b"u" if "frames" in values else _NO_FRAMES + b"u"
        if all(shape != known.pattern for known in self._shapes):
            self._shapes = [re.compile(shape, re.DOTALL), *self._shapes[: _MOST_SHAPES - 1]]


def _reference(place: int) -> bytes:
    """Return the opcode that gets a value from the memo."""
    return bytes([0x68, place]) if place < 256 else b"j" + place.to_bytes(4, "little")


def _place(reference: bytes) -> int:
    return int.from_bytes(reference[1:], "little")


def _whole(written: bytes) -> int:
    """Return the number that an opcode and its argument write."""
    if written[0] == 0x8A:
        return int.from_bytes(written[2:], "little", signed=True)
    return int.from_bytes(written[1:], "little", signed=written[0] == 0x4A)
