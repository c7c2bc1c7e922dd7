"""Reading a pickle of plain values piece by piece: numbers, texts, lists, dicts and tuples, nothing else.

Nothing in the file is run: opcodes that name a global, build an object or ask for one by id are refused by
name. The file is read through a window; nesting, texts, and the number of values that are kept are bounded.
A subclass may replace each complete dict by something smaller, which is how millions of them are read.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from actprof.errors import SnapshotError
from actprof.units import MIB

WINDOW_BYTES = 4 * MIB
MARGIN_BYTES = 64 * 1024  # always in the window, but at the end of the file
MOST_TEXT_BYTES = 64 * MIB
MOST_KEPT = 8_000_000  # values that no subclass replaced
_MOST_NESTED = 100
_MOST_NUMBER_BYTES = 16
HOW_TO_RECORD = (
    "record a run with torch.cuda.memory._record_memory_history(max_entries=1_000_000) before it and "
    'torch.cuda.memory._dump_snapshot("snapshot.pickle") after it'
)

_NAMES = {opcode.code: opcode.name for opcode in pickletools.opcodes}


def unusable(file: object, what: str) -> SnapshotError:
    """Return the error that says what is wrong with a file, and how to record one that can be used."""
    return SnapshotError(f"{file} {what}; {HOW_TO_RECORD}")


@dataclass(slots=True, eq=False)
class Marker:
    """Stands in the place of a value that is kept elsewhere, under a number."""

    index: int


DROPPED = Marker(-1)  # what stands for a dict that is wholly kept elsewhere


class Items(list[Any]):
    """A list that knows its place in the memo; `dropped` counts items that stand for nothing any more."""

    dropped = 0
    place = -1


class Values(dict[str, Any]):
    """A dict that knows its place in the memo."""

    place = -1


class PlainUnpickler:
    """One pass over a file.

    Args:
        file: opened for reading bytes.
        name: of the file, for errors.
        progress: told how many bytes were read, after each window.
    """

    def __init__(self, file: BinaryIO, name: str, progress: Callable[[int], None] | None = None) -> None:
        self.name = name
        self.window, self.at = b"", 0
        self.values: list[Any] = []
        self.memo: list[Any] = []
        self.texts: dict[str, int] = {}  # text -> its last place in the memo
        self._file, self._progress = file, progress
        self._before, self._ended = 0, False
        self._marks: list[int] = []
        self._text_bytes = self._kept = 0

    def load(self) -> Any:
        """Return the value that the file holds.

        Raises:
            SnapshotError: the file ends too soon, is no pickle, or holds more than plain values.
        """
        self._fill()
        self._check_start()
        while True:
            if len(self.window) - self.at < MARGIN_BYTES and not self._ended:
                self._fill()
            if self.read_ahead():
                continue
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                return self.values[-1] if len(self.values) == 1 else self.broken("it holds no single value")
            operate = _OPERATIONS.get(code)
            if operate is None:
                self._refuse(code)
            try:
                operate(self)
            except (IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
                self.broken(str(error))

    def read_ahead(self) -> bool:
        """Read some opcodes at once, if they are known to come often; False to go on with the next one."""
        return False

    def read_items(self) -> bool:
        """Read all items of the new list on the stack at once; False to go on with the first one."""
        return False

    def replace(self, values: Values) -> Any:
        """Return what to keep instead of a complete dict; None to keep it as it is."""
        del values

    @property
    def replaced(self) -> int:
        """How many values have been replaced."""
        return 0

    def keep(self, count: int) -> None:
        """Count values that stay in memory; negative for those that do not any more."""
        self._kept += count
        if self._kept > MOST_KEPT:
            self._too_much("values")

    @property
    def offset(self) -> int:
        """How many bytes have been read."""
        return self._before + self.at

    def broken(self, what: str) -> NoReturn:
        """Say that the file is no pickle, near here."""
        raise unusable(self.name, f"is not a sound pickle near byte {self.offset}: {what}")

    def _too_much(self, what: str) -> NoReturn:
        raise SnapshotError(
            f"{self.name} holds too many {what} that no snapshot has; reading stopped at byte {self.offset} "
            "to keep memory bounded"
        )

    def _check_start(self) -> None:
        start = self.window[:2]
        if not start:
            raise unusable(self.name, "is empty")
        if start == b"PK":
            raise unusable(self.name, "is a zip archive, perhaps of torch.save")
        if start[0] != 0x80 or start[1:] not in {b"\x02", b"\x03", b"\x04", b"\x05"}:
            begin = f"it begins with {self.window[:8]!r}"
            raise unusable(self.name, f"is not a pickle of protocol 2 to 5: {begin}")

    def _refuse(self, code: int) -> NoReturn:
        self.at -= 1
        name = _NAMES.get(chr(code))
        if name is None:
            self.broken(f"{code:#04x} is no pickle opcode")
        what = f"what the opcode {name} makes"
        if name in {"GLOBAL", "INST"}:
            lines = self.window[self.at + 1 : self.at + 300].split(b"\n")
            what = f"the global {b'.'.join(lines[:2]).decode('utf-8', 'replace')}"
        elif name == "STACK_GLOBAL":
            what = f"the global {'.'.join(str(part) for part in self.values[-2:])}"
        raise SnapshotError(
            f"{self.name} refers to {what} (byte {self.offset}); a snapshot holds only numbers, texts, lists "
            "and dicts, so this file is refused and nothing in it was run"
        )

    def _fill(self) -> None:
        """Drop from the window what was read, and read on."""
        self._before += self.at
        more = self._file.read(WINDOW_BYTES)
        self.window, self.at, self._ended = self.window[self.at :] + more, 0, not more
        if self._progress is not None:
            self._progress(self._before)
        if len(self.memo) > 3 * self.replaced + 2 * MOST_KEPT:
            self._too_much("remembered values")

    def _take(self, count: int) -> bytes:
        while len(self.window) - self.at < count:
            if self._ended:
                raise SnapshotError(
                    f"{self.name} is truncated: it ends after {self._before + len(self.window)} bytes, in "
                    "the middle of its data; dump or copy it again"
                )
            self._fill()
        start = self.at
        self.at = start + count
        return self.window[start : self.at]

    def _read_number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _push_signed(self, count: int) -> None:
        if count > _MOST_NUMBER_BYTES:
            self.broken(f"a number of {count} bytes")
        self.values.append(int.from_bytes(self._take(count), "little", signed=True))

    def _push_text(self, count: int) -> None:
        self._text_bytes += count
        if self._text_bytes > MOST_TEXT_BYTES:
            self._too_much("bytes of text")
        self.values.append(self._take(count).decode("utf-8", "surrogatepass"))

    def _mark(self) -> None:
        top = self.values[-1] if self.values else None
        if isinstance(top, Items) and not top and self.read_items():
            return
        if len(self._marks) >= _MOST_NESTED or len(self.values) > MOST_KEPT:
            self.broken("it is nested too deeply")
        self._marks.append(len(self.values))

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self.values[start:]
        del self.values[start:]
        return items

    def _push_tuple(self, values: list[Any]) -> None:
        self.keep(len(values) + 1)
        self.values.append(tuple(values))

    def _last(self, count: int) -> list[Any]:
        items = self.values[-count:]
        del self.values[-count:]
        return items

    def _memoize(self) -> None:
        value = self.values[-1]
        if isinstance(value, str):
            self.texts[value] = len(self.memo)
        elif isinstance(value, (Items, Values)):
            value.place = len(self.memo)
        self.memo.append(value)

    def _put(self, place: int) -> None:
        """Remember a value as protocols 2 and 3 do; an optimised pickle skips places."""
        if not len(self.memo) <= place <= self.offset:
            self.broken(f"place {place} of its memo comes after place {len(self.memo)}")
        self.memo += [None] * (place - len(self.memo))
        self._memoize()

    def _append(self, items: list[Any]) -> None:
        target = self.values[-1]
        if isinstance(target, Marker):
            return  # a list that was replaced: what comes late is left out
        if not isinstance(target, Items):
            self.broken("items are added to what is no list")
        kept = [item for item in items if item is not DROPPED]
        target.dropped += len(items) - len(kept)
        self.keep(len(kept))
        target.extend(kept)

    def _set(self, items: list[Any]) -> None:
        target = self.values[-1]
        if not isinstance(target, Values):
            self.broken("items are set in what is no dict")
        target.update(zip(items[::2], items[1::2], strict=True))
        found = self.replace(target)
        if found is None:
            self.keep(len(items))
            return
        self.values[-1] = found
        if target.place >= 0:
            self.memo[target.place] = found


_OPERATIONS: dict[int, Callable[[PlainUnpickler], Any]] = {
    0x80: lambda self: self._take(1),  # PROTO
    0x95: lambda self: self._take(8),  # FRAME: how many bytes follow in one piece
    ord("N"): lambda self: self.values.append(None),
    0x88: lambda self: self.values.append(True),
    0x89: lambda self: self.values.append(False),
    ord("K"): lambda self: self.values.append(self._read_number(1)),
    ord("M"): lambda self: self.values.append(self._read_number(2)),
    ord("J"): lambda self: self._push_signed(4),
    0x8A: lambda self: self._push_signed(self._read_number(1)),
    0x8B: lambda self: self._push_signed(self._read_number(4)),
    ord("G"): lambda self: self.values.append(struct.unpack(">d", self._take(8))[0]),
    0x8C: lambda self: self._push_text(self._read_number(1)),
    ord("X"): lambda self: self._push_text(self._read_number(4)),
    0x8D: lambda self: self._push_text(self._read_number(8)),
    ord("]"): lambda self: self.values.append(Items()),
    ord("}"): lambda self: self.values.append(Values()),
    ord(")"): lambda self: self.values.append(()),
    ord("("): lambda self: self._mark(),
    ord("t"): lambda self: self._push_tuple(self._since_mark()),
    0x85: lambda self: self._push_tuple(self._last(1)),
    0x86: lambda self: self._push_tuple(self._last(2)),
    0x87: lambda self: self._push_tuple(self._last(3)),
    ord("a"): lambda self: self._append(self._last(1)),
    ord("e"): lambda self: self._append(self._since_mark()),
    ord("s"): lambda self: self._set(self._last(2)),
    ord("u"): lambda self: self._set(self._since_mark()),
    0x94: lambda self: self._memoize(),
    ord("q"): lambda self: self._put(self._read_number(1)),
    ord("r"): lambda self: self._put(self._read_number(4)),
    ord("h"): lambda self: self.values.append(self.memo[self._read_number(1)]),
    ord("j"): lambda self: self.values.append(self.memo[self._read_number(4)]),
}
