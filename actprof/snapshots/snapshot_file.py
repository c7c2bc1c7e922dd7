"""A snapshot file of torch.cuda.memory as a plain record: events in columns, segments, settings.

`read_snapshot` says what is wrong with a file that cannot be used, and how to record one that can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actprof.allocator.blocks import BlockRecord, SegmentRecord
from actprof.errors import SnapshotError
from actprof.snapshots.events import OOM, Events, Stacks
from actprof.snapshots.plain_unpickler import Items, unusable
from actprof.snapshots.snapshot_pickle import SnapshotUnpickler

_SEGMENT_KEYS = ("address", "total_size", "stream", "segment_type", "blocks")
_STATES = {"active_allocated": "allocated", "inactive": "free"}  # the others wait for their free to complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one file holds: of each device the events and the state at their end, and all stacks.

    Attributes:
        private_segments: per device, how many segments belong to a private pool (CUDA graphs).
        settings: `allocator_settings`; empty in files of old releases.
    """

    path: Path
    events: tuple[Events, ...]
    segments: tuple[tuple[SegmentRecord, ...], ...]
    private_segments: tuple[int, ...]
    stacks: Stacks
    settings: Mapping[str, Any]

    @property
    def devices(self) -> tuple[int, ...]:
        """The devices with recorded events; that a snapshot was taken is an event too, but tells nothing."""
        return tuple(index for index, events in enumerate(self.events) if (events.action <= OOM).any())


def read_snapshot(path: str | Path, progress: Callable[[int], None] | None = None) -> Snapshot:
    """Read a snapshot in bounded memory, without running anything in it.

    Raises:
        SnapshotError: the file cannot be read, is cut off, is no snapshot, or holds no events.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            reader = SnapshotUnpickler(file, str(path), progress)
            data = reader.load()
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror or error}") from error
    _check(data, path)
    events = _split(reader.events, data["device_traces"], path)
    segments, private = _segments(data["segments"], path)
    count = max(len(events), 1 + max(segments, default=0))
    settings = data.get("allocator_settings")
    snapshot = Snapshot(
        path=path,
        events=events,
        segments=tuple(segment_records(segments.get(device, ())) for device in range(count)),
        private_segments=tuple(private.get(device, 0) for device in range(count)),
        stacks=reader.stacks,
        settings=settings if isinstance(settings, Mapping) else {},
    )
    if not snapshot.devices:
        raise unusable(path, "holds no recorded events, only the state at its end")
    return snapshot


def check_device(snapshot: Snapshot, device: int) -> None:
    """Refuse a device without recorded events.

    Raises:
        SnapshotError: names the devices that have some.
    """
    if device not in snapshot.devices:
        known = ", ".join(f"{index} ({len(snapshot.events[index])} events)" for index in snapshot.devices)
        raise SnapshotError(f"{snapshot.path} holds no events of device {device}; --device can be {known}")


def _check(data: Any, path: Path) -> None:
    if isinstance(data, list):
        raise unusable(path, "holds a list, as of torch.cuda.memory_snapshot(): segments without events")
    if not isinstance(data, dict):
        raise unusable(path, f"is not a memory snapshot: it holds one {type(data).__name__}")
    missing = [key for key in ("segments", "device_traces") if not isinstance(data.get(key), list)]
    if missing:
        found = ", ".join(repr(key) for key in list(data)[:8]) or "nothing"
        lists = " and the list ".join(map(repr, missing))
        raise unusable(path, f"is not a memory snapshot: it lacks the list {lists} (it has {found})")


def _split(events: Events, traces: list[Any], path: Path) -> tuple[Events, ...]:
    """Return the events of each device; they stand one device after the other."""
    if not all(isinstance(trace, Items) and not trace for trace in traces):
        raise SnapshotError(f"{path} is not a memory snapshot: 'device_traces' holds more than events")
    ends = np.cumsum([trace.dropped for trace in traces], dtype=np.int64).tolist()
    if (ends[-1] if ends else 0) != len(events):
        raise SnapshotError(f"{path} is not a memory snapshot: it has events outside of 'device_traces'")
    return tuple(events[start:end] for start, end in zip([0, *ends], ends, strict=False))


def _segments(segments: list[Any], path: Path) -> tuple[dict[int, list[Any]], dict[int, int]]:
    """Return the segments of each device as rows, and how many of them belong to a private pool."""
    found: dict[int, list[Any]] = {}
    private: dict[int, int] = {}
    for number, segment in enumerate(segments):
        missing = [key for key in _SEGMENT_KEYS if not isinstance(segment, dict) or key not in segment]
        if missing:
            raise SnapshotError(
                f"{path} is not a memory snapshot: segment {number} lacks {', '.join(missing)}"
            )
        device = segment.get("device", 0)
        found.setdefault(device, []).append(_row(segment))
        if any(segment.get("segment_pool_id", ())):
            private[device] = private.get(device, 0) + 1
    return found, private


def _row(segment: Mapping[str, Any]) -> list[Any]:
    blocks, address = [], segment["address"]
    for start, size, requested, state in segment["blocks"]:
        address = address if start is None else start  # files of torch 2.0 and older have no addresses
        blocks.append((address, size, requested, state))
        address += size
    *most, _blocks = (segment[key] for key in _SEGMENT_KEYS)
    return [*most, bool(segment.get("is_expandable")), blocks]


def segment_records(
    rows: Iterable[Sequence[Any]], streams: Mapping[int, int] | None = None
) -> tuple[SegmentRecord, ...]:
    """Return recorded segments by address; of free blocks PyTorch's stale request is dropped.

    Args:
        rows: address, bytes, stream, pool, whether it is expandable, and its blocks; of each block address,
            bytes, requested bytes and PyTorch's word for its state.
        streams: what to call streams, where they have other names in `rows`.
    """
    segments = (
        SegmentRecord(
            address=address,
            total_bytes=total,
            stream=(streams or {}).get(stream, stream),
            pool=pool,
            is_expandable=is_expandable,
            blocks=tuple(
                BlockRecord(
                    start, size, 0 if state == "inactive" else requested, _STATES.get(state, "pending")
                )
                for start, size, requested, state in blocks
            ),
        )
        for address, total, stream, pool, is_expandable, blocks in rows
    )
    return tuple(sorted(segments, key=lambda segment: segment.address))
