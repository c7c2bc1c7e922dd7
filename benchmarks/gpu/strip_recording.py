"""Strip a memory snapshot of PyTorch to numbers and names: a gzip JSON of a hundredth of the size.

    python benchmarks/gpu/strip_recording.py SNAPSHOT.pickle OUT.json.gz

`events` are [action, address, bytes, stream, frame], `final_segments` [address, bytes, stream, pool, whether
expandable, [address, bytes, requested, state] of each block]; actions, streams and frames are indices.
Without the frame that is what `actprof.snapshots.recording` reads. `event_callers` names, for each event, the
innermost frame that belongs to a library of policies, where `frames` has the innermost of all.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from _common import write_json_gz

_NO_EVENTS = ("snapshot", "user_defined")
_POLICIES = ("lerobot", "transformers", "diffusers", "torchvision", "actprof")
_MOST_FRAMES = 12  # of an out-of-memory event

Frames = Sequence[Mapping[str, Any]]


class _Numbers(dict[Any, int]):
    """Numbers what it is asked for, in the order of asking."""

    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


class _Plain(pickle.Unpickler):
    """Reads dicts, lists, numbers and texts; a snapshot has nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a snapshot")


def read_pickle(path: Path) -> dict[str, Any]:
    """Return a snapshot's content.

    Raises:
        pickle.UnpicklingError: it is none.
    """
    with path.open("rb") as file:
        return _Plain(file).load()


def strip(snapshot: Mapping[str, Any], *, torch: str, job: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what is kept of the device that did most.

    Args:
        snapshot: of `torch.cuda.memory._snapshot`.
        torch: the version that made it.
        job: what was run, for the record.
    """
    traces = snapshot["device_traces"]
    device = max(range(len(traces)), key=lambda index: len(traces[index]))
    trace = [event for event in traces[device] if event["action"] not in _NO_EVENTS]
    actions, frames, callers, streams = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    events = [
        [
            actions[event["action"]],
            event.get("addr", event.get("device_free", 0)),
            event["size"],
            streams[event.get("stream", 0)],
            frames[_innermost(event)],
        ]
        for event in trace
    ]
    event_callers = [callers[_caller(event)] for event in trace]
    segments = [
        _segment(segment, streams) for segment in snapshot["segments"] if segment.get("device", 0) == device
    ]
    return {
        "actions": list(actions),
        "frames": list(frames),
        "streams": {str(index): stream for stream, index in streams.items()},
        "allocator_settings": snapshot.get("allocator_settings", {}),
        "torch": torch.partition("+")[0],
        "events": events,
        "final_segments": segments,
        "callers": list(callers),
        "event_callers": event_callers,
        "ooms": [_out_of_memory(event) for event in trace if event["action"] == "oom"],
        "job": dict(job or {}),
    }


def _segment(segment: Mapping[str, Any], streams: _Numbers) -> list[Any]:
    pool, expandable = segment["segment_type"], bool(segment.get("is_expandable"))
    where = [segment["address"], segment["total_size"], streams[segment.get("stream", 0)]]
    return [*where, pool, expandable, list(_blocks(segment))]


def _blocks(segment: Mapping[str, Any]) -> Iterator[list[Any]]:
    address = segment["address"]
    for block in segment["blocks"]:
        size = block["size"]
        yield [block.get("address", address), size, block.get("requested_size", size), block["state"]]
        address += size


def _out_of_memory(event: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in event.items() if name != "frames"}
    return told | {"frames": [_name(frame) for frame in event.get("frames", ())[:_MOST_FRAMES]]}


def _innermost(event: Mapping[str, Any]) -> str:
    frames: Frames = event.get("frames") or ()
    return _name(frames[0]) if frames else ""


def _caller(event: Mapping[str, Any]) -> str:
    frames: Frames = event.get("frames") or ()
    return next((_name(frame) for frame in frames if _is_policys(frame["filename"])), "")


def _is_policys(filename: str) -> bool:
    return any(f"/{package}/" in filename for package in _POLICIES)


def _name(frame: Mapping[str, Any]) -> str:
    """Return `folder/file.py:line function`: nothing of the machine that ran it."""
    return f"{'/'.join(frame['filename'].split('/')[-2:])}:{frame['line']} {frame['name']}"


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--torch", default="", help="The version that wrote the snapshot.")
def main(*, snapshot: Path, out: Path, torch: str) -> None:
    """Strip SNAPSHOT into OUT."""
    write_json_gz(out, strip(read_pickle(snapshot), torch=torch))


if __name__ == "__main__":
    main()
