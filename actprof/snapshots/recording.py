"""One recorded run of the real allocator: its settings, its events, and the state it ended in.

It comes from a snapshot of torch.cuda.memory, or from one that was stripped to numbers (gzip JSON).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actprof.allocator.blocks import SegmentRecord
from actprof.allocator.config import AllocatorConfig
from actprof.errors import SnapshotError, StoreError, UsageError
from actprof.snapshots.events import ACTIONS, OBTAINED, RETURNED, Event, Events, Stacks
from actprof.snapshots.snapshot_file import check_device, read_snapshot, segment_records

DEFAULT_VERSION = (2, 11)  # a snapshot does not say which release wrote it
_GZIP = b"\x1f\x8b"
_NO_LIMIT = 1 << 62
_MANY_EVENTS = 1000
_PRIVATE_POOLS = (
    "segments belong to private pools (CUDA graphs); the recording does not say which requests went there, "
    "so they are replayed with the others"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded run: the settings it ran under, what the allocator did, and the state it ended in.

    Attributes:
        torch_version: (major, minor) whose rules are meant.
        from_empty: whether the allocator held nothing when the recording began.
        notes: what to know when reading a replay of it.
    """

    config: AllocatorConfig
    torch_version: tuple[int, int]
    from_empty: bool
    events: Events
    final: tuple[SegmentRecord, ...]
    stacks: Stacks = field(default_factory=Stacks)
    device: int = 0
    notes: tuple[str, ...] = ()


def open_recording(
    path: str | Path,
    *,
    device: int | None = None,
    torch_version: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """Return the recording of one device in a snapshot, or in a stripped recording.

    Args:
        path: of the file, a snapshot or a stripped recording.
        device: number of the GPU; the first one with events if left out.
        torch_version: the release that recorded it, like `2.6`; 2.11 if left out and not known.
        progress: told how many bytes were read.

    Raises:
        SnapshotError: a file that cannot be used.
        UsageError: a version that cannot be.
    """
    path = Path(path)
    version = None if torch_version is None else parse_version(torch_version)
    if _is_stripped(path):
        try:
            recording = load_recording(path)
        except StoreError as error:
            raise SnapshotError(str(error)) from error
        return recording if version is None else replace(recording, torch_version=version)
    snapshot = read_snapshot(path, progress)
    device = snapshot.devices[0] if device is None else device
    check_device(snapshot, device)
    private = snapshot.private_segments[device]
    recording = _recording(snapshot.events[device], snapshot.segments[device], snapshot.settings)
    return replace(
        recording,
        torch_version=version or DEFAULT_VERSION,
        stacks=snapshot.stacks,
        device=device,
        notes=(*recording.notes, *([f"{private} {_PRIVATE_POOLS}"] if private else [])),
    )


def parse_version(text: str) -> tuple[int, int]:
    """Return (major, minor) of a version of torch.

    Raises:
        UsageError: it is no version, or one whose rules are not known.
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:[.+].*)?", text.strip())
    if match is None or int(match[1]) < 2:
        raise UsageError(f"{text!r} is not a version of torch from 2.0 on; write it like 2.11")
    return int(match[1]), int(match[2])


def load_recording(path: Path) -> Recording:
    """Read a stripped recording.

    Raises:
        StoreError: the file cannot be read or is no recording.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            data = json.load(file)
        return _parse(data)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is not a stripped allocator recording: {error!r}") from error


def began_empty(events: Events, final: tuple[SegmentRecord, ...]) -> bool:
    """Return whether the allocator held nothing at the start: what came and went adds up to the end."""
    obtained, returned = (int(events.size_bytes[events.are(*part)].sum()) for part in (OBTAINED, RETURNED))
    allocated, freed = (int(events.are(action).sum()) for action in ("alloc", "free_completed"))
    used = sum(block.state != "free" for segment in final for block in segment.blocks)
    reserved = sum(segment.total_bytes for segment in final)
    return reserved == obtained - returned and used == allocated - freed


def _is_stripped(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == _GZIP
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror or error}") from error


def _began_late(events: Events) -> str:
    count = len(events)
    text = "the recording began mid-run; the state at its start was found by undoing its events from its end"
    digits = str(count).rstrip("0")
    if count >= _MANY_EVENTS and (len(digits) <= 2 or count & (count - 1) == 0):
        text += (
            f". Its {count:,} events look like a full buffer: with max_entries={count} PyTorch keeps only "
            "the last ones; record with a larger max_entries to see the beginning"
        )
    return text


def _parse(data: dict[str, Any]) -> Recording:
    streams = {int(index): int(pointer) for index, pointer in data.get("streams", {}).items()}
    actions = [name if name in ACTIONS else "other" for name in data["actions"]]
    events = Events.of(
        Event(actions[action], address, size, streams.get(stream, stream))
        for action, address, size, stream, *_ in data["events"]
    )
    final = segment_records(data["final_segments"], streams)
    from_empty = (data.get("expected") or {}).get("from_empty")
    recording = _recording(events, final, data.get("allocator_settings") or {}, from_empty=from_empty)
    version = re.match(r"(\d+)\.(\d+)", data.get("torch") or "")
    return replace(recording, torch_version=(int(version[1]), int(version[2]))) if version else recording


def _recording(
    events: Events,
    final: tuple[SegmentRecord, ...],
    settings: Mapping[str, Any],
    *,
    from_empty: bool | None = None,
) -> Recording:
    """Return what events, final state and `allocator_settings` of a file say."""
    config, notes = _parse_config(settings, any(segment.is_expandable for segment in final))
    from_empty = began_empty(events, final) if from_empty is None else from_empty
    return Recording(
        config=config,
        torch_version=DEFAULT_VERSION,
        from_empty=from_empty,
        events=events,
        final=final,
        notes=tuple(notes if from_empty else [*notes, _began_late(events)]),
    )


def _parse_config(settings: Mapping[str, Any], expandable: bool) -> tuple[AllocatorConfig, list[str]]:  # noqa: FBT001 - one of two facts
    """Return the settings and notes; those changed at run time stand beside the text of the variable."""
    config, notes = _parse_text(str(settings.get("PYTORCH_CUDA_ALLOC_CONF") or ""))
    max_split = settings.get("max_split_size", -1)
    threshold = settings.get("garbage_collection_threshold", 0.0)
    divisions = _divisions(settings.get("roundup_power2_divisions"))
    config = replace(
        config,
        expandable_segments=bool(settings.get("expandable_segments", expandable)),
        max_split_size_bytes=max_split if 0 < max_split < _NO_LIMIT else None,
        garbage_collection_threshold=float(threshold),
        roundup_power2_divisions=divisions or config.roundup_power2_divisions,
    )
    if config.garbage_collection_threshold:
        notes.append(
            "garbage collection was set, but the memory fraction that it needs is not in the snapshot"
        )
    return config, notes


def _parse_text(text: str) -> tuple[AllocatorConfig, list[str]]:
    """Return the settings of the variable; what this release does not know is left out with a note."""
    try:
        return AllocatorConfig.parse(text), []
    except UsageError:
        known, notes = "", []
        for item in re.split(r",(?![^\[]*\])", text):
            try:
                AllocatorConfig.parse(f"{known},{item}" if known else item)
            except UsageError as error:
                notes.append(f"a recorded setting is left out: {error}")
            else:
                known = f"{known},{item}" if known else item
        return AllocatorConfig.parse(known), notes


def _divisions(recorded: Any) -> tuple[int, ...]:
    """Return the divisions of all intervals, which a snapshot lists by their power of two."""
    if not isinstance(recorded, Mapping):
        return ()
    values = tuple(int(recorded[key]) for key in sorted(recorded, key=int))
    return values if any(value > 1 for value in values) and len(values) == 16 else ()
