"""A trace survives the way to bytes and back; what is no trace is refused."""

import contextlib
import io
import json
import pickle
from dataclasses import fields, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from actprof.errors import StoreError
from actprof.policies.facts import Parameter, PolicyFacts
from actprof.trace.calls import GrowingCall
from actprof.trace.model import SCHEMA_VERSION, OpTable, TensorTable, Trace, TraceDetails
from actprof.trace.storage import trace_from_bytes, trace_to_bytes


def ints(*values):
    return np.array(values, dtype=np.int64)


DETAILS = TraceDetails(
    op_lines=("", "torch/nn/modules/linear.py:134 forward", "torch/nn/modules/linear.py:134 forward"),
    op_callers=("", "lerobot/policies/act/modeling_act.py:413 forward", ""),
    shapes=(None, ((0, 602), (512, 0), (-1, 2))),
    dtypes=("", "float32"),
    owners=("a.weight", ""),
    freed_by=ints(-1, 2),
    calls=(
        GrowingCall(("m3",), (), ()),
        GrowingCall(
            ("t2 float32", "i", "o", ">", "t1 bool"), (2, 3, 3, 1, 0, 7, 1), (1, 0, 0, 0, 1, 0, 0), 2
        ),
    ),
    op_calls=ints(0, 1, 1),
)
TRACE = Trace(
    key={"policy": "act", "overrides": {"chunk_size": 50, "vision_backbone": "resnet18"}, "cameras": 2},
    versions={"torch": "2.11.0"},
    policy=PolicyFacts(
        parameters=(
            Parameter(path="a.weight", component="a", count=3, bytes=12, trainable=True),
            Parameter(path="b", component="other", count=1, bytes=8, trainable=False, is_buffer=True),
        ),
        encoder_tokens=602,
        output_shape=(50, 6),
        components=(("a", "a"), ("model.encoder", "encoder")),
        other_component="other",
    ),
    tensors=TensorTable(
        constant=ints(512, 0),
        per_sample=ints(0, 2**40),
        kind=ints(0, 3),
        op=ints(0, 2),
        problem=ints(-1, 0),
        part=ints(0, 1),
        stream=ints(0, 3),
    ),
    ops=OpTable(
        names=("aten.ones.default", "aten.add.Tensor", "aten.add.Tensor"),
        modules=("", "a", "a"),
        phase=ints(0, 2, 3),
        blas=ints(0, 1, 2),
        sync=np.array([False, True, False]),
        flops_constant=ints(1, 2, 3),
        flops_per_sample=ints(4, 5, 6),
        bytes_constant=ints(7, 8, 9),
        bytes_per_sample=ints(10, 11, 12),
    ),
    events=ints(1, 2, -2, -1),
    step_starts=(0, 2),
    update_starts=(1, 3),
    phase_starts=((0, 0), (1, 2)),
    carried=((0, 1),),
    batch_sizes=(2, 3, 7),
    fixed_batch_size=None,
    assumptions=("nothing is certain",),
    trace_seconds=1.5,
    load_details=DETAILS.itself,
)

DEFAULT_STREAM = replace(TRACE, tensors=replace(TRACE.tensors, stream=ints(0, 0)))


def same(one, other):
    """Compare two records field by field, arrays by value and dtype."""
    assert type(one) is type(other)
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            assert np.array_equal(a, b), field.name
        elif field.name == "load_details":
            same(one.details(), other.details())
        elif isinstance(a, TensorTable | OpTable | PolicyFacts):
            same(a, b)
        else:
            assert (a, type(a)) == (b, type(b)), field.name


@pytest.mark.parametrize(
    "trace",
    [
        TRACE,
        replace(TRACE, carried=None, fixed_batch_size=1, batch_sizes=(1,), assumptions=()),
        replace(TRACE, carried=(), events=ints(), step_starts=(), update_starts=()),
        replace(TRACE, load_details=None),
        DEFAULT_STREAM,
    ],
    ids=["full", "of one batch size", "empty", "without details", "on one stream"],
)
def test_every_column_and_field_comes_back(trace):
    """Values, dtypes and types are those that went in."""
    same(trace, trace_from_bytes(trace_to_bytes(trace)))


def test_streams_take_no_room_where_there_is_only_one():
    """A file is the same as before there were any."""
    with np.load(io.BytesIO(trace_to_bytes(DEFAULT_STREAM))) as archive:
        assert "tensors.stream" not in archive.files


DATA = trace_to_bytes(TRACE)


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", DATA[: len(DATA) // 2], DATA[:-1], DATA[10:], b"PK\x03\x04" + bytes(40), DATA[:4]],
    ids=["empty", "text", "half", "last byte", "beginning", "zeros", "signature"],
)
def test_what_is_no_archive_is_refused(data):
    """One error, whatever is wrong with the bytes."""
    with pytest.raises(StoreError, match="not a readable trace"):
        trace_from_bytes(data)


@settings(max_examples=200)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_flipped_byte_gives_the_trace_or_a_store_error(position, change):
    """Checksums find damage; what they do not cover does not matter."""
    damaged = bytearray(DATA)
    damaged[position] ^= change
    with contextlib.suppress(StoreError):
        same(TRACE, trace_from_bytes(bytes(damaged)))


def edited(header=None, drop=(), columns=None):
    """Return the archive with another header, without some columns, with others in place."""
    with np.load(io.BytesIO(DATA)) as archive:
        content = dict(archive)
    old = json.loads(content["header"].tobytes())
    content["header"] = np.frombuffer(json.dumps({**old, **(header or {})}).encode(), dtype=np.uint8)
    for name in drop:
        if name in content:
            del content[name]
        else:
            changed = json.loads(content["header"].tobytes())
            del changed[name]
            content["header"] = np.frombuffer(json.dumps(changed).encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **{**content, **(columns or {})})
    return file.getvalue()


def test_details_are_read_when_they_are_asked_for(monkeypatch):
    """A replay needs none, so that loading a trace leaves them packed; a second reader gets the same."""
    opened = []
    monkeypatch.setattr(np, "load", lambda *args, _load=np.load, **kw: opened.append(1) or _load(*args, **kw))
    fresh = replace(DETAILS, dtypes=("", "float16"))  # read by no test before
    trace = trace_from_bytes(trace_to_bytes(replace(TRACE, load_details=fresh.itself)))
    assert 1 == len(opened)
    assert fresh.dtypes == trace.details().dtypes
    assert trace.details() is trace.details()
    assert 2 == len(opened)


def test_a_trace_can_be_handed_to_another_process():
    """Its details go with it."""
    same(TRACE, pickle.loads(pickle.dumps(trace_from_bytes(DATA))))  # noqa: S301 - our own bytes


def test_details_that_are_none_are_refused_when_they_are_asked_for():
    """The rest of the trace is there all the same."""
    trace = trace_from_bytes(edited(columns={"details": np.zeros(9, dtype=np.uint8)}))
    with pytest.raises(StoreError, match="not readable details"):
        trace.details()


@pytest.mark.parametrize("other", [-1, 1])
def test_another_schema_is_refused(other):
    """It may mean other things; traces are found by their schema, so that none is read by mistake."""
    with pytest.raises(StoreError, match=f"and {SCHEMA_VERSION} is read"):
        trace_from_bytes(edited({"schema_version": SCHEMA_VERSION + other}))


def test_an_older_file_takes_the_defaults_of_what_it_lacks():
    """Fields with a default may be missing."""
    old = edited(drop=["fixed_batch_size", "assumptions", "trace_seconds", "details", "tensors.stream"])
    expected = replace(DEFAULT_STREAM, assumptions=(), trace_seconds=0.0, load_details=None)
    same(expected, trace_from_bytes(old))


@pytest.mark.parametrize(
    "missing", ["events", "tensors.constant", "ops.names", "header", "policy", "carried"]
)
def test_a_file_that_lacks_what_has_no_default_is_refused(missing):
    """Half a trace is none."""
    with pytest.raises(StoreError):
        trace_from_bytes(edited(drop=[missing]))


def test_a_header_that_is_no_header_is_refused():
    """Neither text nor a list is one."""
    for header in (b"{", b"[]", b"\xff\xfe"):
        with pytest.raises(StoreError):
            trace_from_bytes(edited(columns={"header": np.frombuffer(header, dtype=np.uint8)}))


def test_columns_of_objects_are_not_read():
    """Reading them would run a pickle."""
    with pytest.raises(StoreError):
        trace_from_bytes(edited(columns={"events": np.array([print], dtype=object)}))
