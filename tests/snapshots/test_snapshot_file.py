"""Snapshots are read as they are, in bounded memory, and what is wrong with one is named."""

from __future__ import annotations

import datetime as dt
import pickle
import pickletools
import subprocess
import sys

import pytest

from actprof.errors import SnapshotError
from actprof.snapshots.events import ACTIONS
from actprof.snapshots.snapshot_file import check_device, read_snapshot

MIB = 1024**2


def columns(events):
    return [(e.action, e.address, e.size_bytes, e.stream) for e in events]


def plain_columns(trace):
    return [(e["action"], e.get("addr", e.get("device_free")), e["size"], e["stream"]) for e in trace]


def frames(stack):
    return [{"filename": f.filename, "line": f.line, "name": f.name} for f in stack]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_events_are_those_that_pickle_would_give(snapshot, write, protocol):
    """Every event and every stack is the one that pickle.load returns, whatever the protocol."""
    read = read_snapshot(write(snapshot, protocol))
    (trace,) = snapshot["device_traces"]
    assert plain_columns(trace) == columns(read.events[0])
    stacks = [read.stacks.frames_of(stack) for stack in read.events[0].stack]
    assert [event["frames"] for event in trace] == [frames(stack) for stack in stacks]
    assert snapshot["allocator_settings"] == dict(read.settings)
    assert [segment["address"] for segment in snapshot["segments"]] == [s.address for s in read.segments[0]]
    assert sum(len(s["blocks"]) for s in snapshot["segments"]) == sum(len(s.blocks) for s in read.segments[0])


def test_an_optimised_pickle_is_read(snapshot, tmp_path):
    """What pickletools.optimize leaves of the memo is enough."""
    path = tmp_path / "small.pickle"
    path.write_bytes(pickletools.optimize(pickle.dumps(snapshot, protocol=2)))
    assert plain_columns(snapshot["device_traces"][0]) == columns(read_snapshot(path).events[0])


def test_events_without_stacks_are_read(snapshot, write):
    """A recording with context=None has no frames."""
    for event in snapshot["device_traces"][0]:
        del event["frames"]
    read = read_snapshot(write(snapshot))
    assert plain_columns(snapshot["device_traces"][0]) == columns(read.events[0])
    assert {-1} == set(read.events[0].stack.tolist())


def test_actions_of_later_releases_are_kept_as_other(snapshot, write):
    """An unknown action is no reason to refuse a file."""
    snapshot["device_traces"][0][5]["action"] = "annotation"
    assert "other" == read_snapshot(write(snapshot)).events[0][5].action


def test_devices_are_told_apart(snapshot, write):
    """Events and segments go to their device; one without events is refused with those that have some."""
    snapshot["device_traces"] = [[], [], snapshot["device_traces"][0][:7]]
    for segment in snapshot["segments"]:
        segment["device"] = 2
    read = read_snapshot(write(snapshot))
    assert (2,) == read.devices
    assert ([0, 0, 7], [0, 0]) == ([len(e) for e in read.events], [len(s) for s in read.segments[:2]])
    with pytest.raises(SnapshotError, match=r"no events of device 0; --device can be 2 \(7 events\)"):
        check_device(read, 0)


class Malice:
    """Something that would run code when it is loaded by pickle."""

    def __reduce__(self):
        return print, ("this must not be printed",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("value", "name"),
    [(Malice(), r"\w+\.print"), (dt.date(2024, 1, 1), r"datetime\.date"), (1j, r"\w+\.complex")],
)
def test_globals_are_refused_by_name(snapshot, write, value, name, protocol):
    """A pickle that refers to a global is refused, and the global is named."""
    snapshot["device_traces"][0][3]["frames"] = value
    with pytest.raises(SnapshotError, match=rf"the global {name} .*refused"):
        read_snapshot(write(snapshot, protocol))


def test_nothing_in_a_file_is_run(snapshot, write, capsys):
    """A global that would print when called is not called."""
    snapshot["allocator_settings"] = Malice()
    with pytest.raises(SnapshotError, match="nothing in it was run"):
        read_snapshot(write(snapshot))
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, bytearray(b"x"), frozenset({1})])
def test_other_kinds_of_values_are_refused(snapshot, write, value):
    """Only numbers, texts, lists, dicts and tuples pass."""
    snapshot["more"] = value
    with pytest.raises(SnapshotError, match=r"refused|opcode"):
        read_snapshot(write(snapshot))


@pytest.mark.parametrize("part", [0.01, 0.2, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_told(native_path, tmp_path, part):
    """Wherever a file is cut off, the error says so and what to do."""
    data = native_path.read_bytes()
    path = tmp_path / "cut.pickle"
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(SnapshotError, match=r"cut\.pickle is truncated: it ends after \d+ bytes.*again"):
        read_snapshot(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty; record a run with"),
        (b"PK\x03\x04rest", "zip archive"),
        (b'{"segments": []}', "not a pickle of protocol 2 to 5"),
        (b"<!doctype html>", "not a pickle"),
        (b"\x80\x04\xff\xff", "0xff is no pickle opcode"),
        (b"\x80\x04]h\x09.", "not a sound pickle near byte"),
        (b"\x80\x04K\x01a.", "not a sound pickle"),
        (b"\x80\x04\x8a\xc8" + b"1" * 200 + b".", "a number of 200 bytes"),
        (b"\x80\x04" + b"(" * 1000 + b".", "nested too deeply"),
        (b"\x80\x02]r\xff\xff\xff\xff.", "its memo"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\x00\x00\x00.", "bytes of text"),
    ],
)
def test_what_is_no_pickle_is_told(tmp_path, content, text):
    """Empty files, archives, texts and broken or hostile pickles are refused with the reason."""
    path = tmp_path / "other.file"
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=text):
        read_snapshot(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([{"address": 1}], r"holds a list, as of torch\.cuda\.memory_snapshot\(\)"),
        (12, "it holds one int"),
        ({"segments": []}, r"lacks the list 'device_traces' \(it has 'segments'\); record a run with"),
        ({"state": {}}, "lacks the list 'segments' and the list 'device_traces'"),
        ({"segments": [{}], "device_traces": []}, "segment 0 lacks address, total_size"),
        ({"segments": [], "device_traces": [[1]]}, "more than events"),
    ],
)
def test_a_pickle_that_is_no_snapshot_is_told(write, value, text):
    """The error names what is missing."""
    with pytest.raises(SnapshotError, match=text):
        read_snapshot(write(value))


@pytest.mark.parametrize(
    "trace", [[], [{"action": "snapshot", "addr": 0, "size": 42, "stream": 0}]], ids=["nothing", "snapshot"]
)
def test_a_snapshot_without_events_tells_how_to_record(snapshot, write, trace):
    """The two calls that make a good file stand in the message; taking a snapshot is no event of a run."""
    snapshot["device_traces"] = [trace]
    with pytest.raises(
        SnapshotError, match=r"no recorded events.*_record_memory_history\(.*_dump_snapshot\("
    ):
        read_snapshot(write(snapshot))


def test_a_missing_file_is_told(tmp_path):
    """The path stands in the message."""
    with pytest.raises(SnapshotError, match=r"nothing\.pickle cannot be read"):
        read_snapshot(tmp_path / "nothing.pickle")


def test_progress_reaches_the_end(snapshot, write):
    """The bytes that were read rise up to about the size of the file."""
    path = write(snapshot)
    seen = []
    read_snapshot(path, seen.append)
    assert seen == sorted(seen)


MEASURE = """
import re, sys
from actprof.snapshots.snapshot_file import read_snapshot
def most():  # ru_maxrss would count the parent's
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024
read_snapshot(sys.argv[1])
before = most()
events = read_snapshot(sys.argv[2]).events[0]
print(len(events), most() - before)
"""
STATED_BYTES = 64  # per event, beside WINDOW and stacks
WINDOW = 24 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process's memory from /proc")
def test_memory_per_event_is_bounded(snapshot, write, tmp_path):
    """A file of 300,000 events is read within 64 bytes an event and a fixed window of some MiB."""
    small = write(snapshot).rename(tmp_path / "small.pickle")
    trace = snapshot["device_traces"][0]
    shared = [event["frames"] * 6 for event in trace]
    snapshot["device_traces"] = [
        [trace[i % 300] | {"time_us": i, "frames": list(shared[i % 300])} for i in range(300_000)]
    ]
    big = write(snapshot)
    command = [sys.executable, "-c", MEASURE, str(small), str(big)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    events, used = map(int, done.stdout.split())
    assert 300_000 == events
    assert 25 * events < used < STATED_BYTES * events + WINDOW


def test_actions_stand_in_a_fixed_order():
    """Columns written by one release of actprof mean the same in the next."""
    assert ("alloc", "free_requested", "free_completed", "segment_alloc") == ACTIONS[:4]
