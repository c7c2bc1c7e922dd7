"""Recordings of random programs are reproduced: whole, and from any place in their middle.

They are made by the same allocator, so they prove nothing about its rules. They test what stands around it:
who released the cache, the rewinding, and the taking over of a state that other addresses were given out in.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from make_recordings import Recorder

from actprof.allocator import AllocatorConfig
from actprof.snapshots.events import Event, Events
from actprof.snapshots.recording import Recording, began_empty
from actprof.snapshots.replay_recording import replay_recording
from actprof.snapshots.verify import verify
from actprof.snapshots.what_if_replay import Question

MIB = 1024**2
PROGRAMS = 150
SETTINGS = ["", "expandable_segments:True", "max_split_size_mb:24", "roundup_power2_divisions:4"]


def record(conf, rng):
    """Return the recorder of a program that often retries and runs out."""
    recorder, live = Recorder(conf, capacity_bytes=rng.choice((60, 100, 160)) * MIB), []
    for _ in range(rng.randrange(5, 60)):
        choice = rng.random()
        if choice < 0.55:
            size = rng.randrange(*rng.choice(((1, 2 * MIB), (MIB, 30 * MIB), (10 * MIB, 60 * MIB))))
            stream = 7 if rng.random() < 0.2 else 0
            address = recorder.malloc(size, stream=stream)
            if address is not None:
                live.append((address, size, stream))
        elif choice < 0.93 and live:
            address, size, stream = live.pop(rng.randrange(len(live)))
            recorder.free(address, size, stream=stream)
        elif choice > 0.97:
            recorder.empty_cache()
    return recorder


def recording_from(recorder, start=0):
    """Return the recording from one event on."""
    rows = [
        Event(e["action"], e.get("addr", e.get("device_free")), e["size"], e["stream"])
        for e in recorder.events[start:]
    ]
    events, final = Events.of(rows), recorder.allocator.snapshot()
    return Recording(
        config=recorder.config,
        torch_version=(2, 11),
        from_empty=began_empty(events, final),
        events=events,
        final=final,
    )


def make_recorders(conf):
    rng = random.Random(conf)  # noqa: S311 - programs, not secrets
    recorders = [record(conf, rng) for _ in range(PROGRAMS)]
    return rng, [recorder for recorder in recorders if recorder.events]


@pytest.mark.parametrize("conf", SETTINGS)
def test_whole_recordings_are_reproduced(conf):
    """Addresses, segments, releases, failures, peaks and the end are the recorded ones."""
    _, recorders = make_recorders(conf)
    assert any(recorder.allocator.num_alloc_retries > recorder.allocator.num_ooms for recorder in recorders)
    results = [verify(recording_from(recorder)) for recorder in recorders]
    assert [] == [found for found in results if not (found.is_exact and found.from_empty)]


@pytest.mark.parametrize("conf", SETTINGS)
def test_the_rest_of_a_recording_is_reproduced(conf):
    """From any place on that is not inside a release, and nearly always with expandable segments.

    Of an expandable segment whose first pages had no memory at that place, the beginning is not known.
    """
    rng, recorders = make_recorders(conf)
    results = []
    for recorder in recorders:
        actions = [event["action"] for event in recorder.events]
        places = [i for i in range(1, len(actions)) if not actions[i - 1].startswith("segment")]
        results += [verify(recording_from(recorder, rng.choice(places)))] if places else []
    exact = sum(found.is_exact for found in results)
    assert exact >= (0.95 if "expandable" in conf else 1) * len(results)


@pytest.mark.parametrize("conf", SETTINGS)
@pytest.mark.parametrize("other", ["", "expandable_segments:True"])
def test_any_recording_can_be_asked_what_if(conf, other):
    """Other settings and less memory give an answer, wherever a recording begins; peaks keep the limit."""
    rng, recorders = make_recorders(conf)
    config = AllocatorConfig.parse(other)
    for recorder in recorders[:60]:
        limit = rng.choice((30, 80, 200)) * MIB
        question = Question(label="other", config=config, available_bytes=limit)
        part = recording_from(recorder, rng.randrange(len(recorder.events)))
        _, outcome = replay_recording(part, [question]).outcomes
        assert outcome.oom is not None or outcome.peak.reserved_bytes <= limit
        assert outcome.peak_requested_bytes <= outcome.peak_reserved_bytes
