"""A `Trace` as bytes and back: one NumPy archive with a JSON header, no pickle.

Columns that count something are kept as steps from one row to the next, which traces of similar runs have in
common. What a replay does not need (`TraceDetails`) is an archive of its own inside, one column of bytes,
which is opened when someone asks for it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Sequence
from dataclasses import astuple, fields
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from actprof.errors import StoreError
from actprof.kernels.problem import GrowingProblem
from actprof.policies.facts import PolicyFacts
from actprof.records import from_plain, to_plain, tupled
from actprof.trace.calls import GrowingCall
from actprof.trace.model import SCHEMA_VERSION, OpTable, TensorTable, Trace, TraceDetails

_HEADER = "header"
_DETAILS = "details"
_STREAM = "tensors.stream"
# Not JSON as they are, or told by where the trace is found.
_APART = {"policy", "tensors", "ops", "events", "problems", "load_details", "shipped"}
_Word = TypeVar("_Word", bound=Hashable)
_COUNTING = {"events", "tensors.op", "tensors.problem", "freed_by"}
_WORDS = ("op_lines", "op_callers", "shapes", "dtypes", "owners")


def trace_to_bytes(trace: Trace, *, packed: bool = True) -> bytes:
    """Return the archive of `trace`; not `packed` for what packs many of them together."""
    columns: dict[str, NDArray[Any]] = {"frees": trace.events < 0, "events": np.abs(trace.events)}
    for field in fields(TensorTable):
        columns[f"tensors.{field.name}"] = getattr(trace.tensors, field.name)
    if not trace.tensors.stream.any():  # as everywhere but with several GPUs
        del columns[_STREAM]
    for field in fields(OpTable):
        if field.name not in ("names", "modules"):
            columns[f"ops.{field.name}"] = getattr(trace.ops, field.name)
    words: dict[str, list[str]] = {}
    for name in ("names", "modules"):
        words[name], columns[f"ops.{name}"] = _encode(getattr(trace.ops, name))
    header = {field.name: getattr(trace, field.name) for field in fields(Trace) if field.name not in _APART}
    problems = [astuple(problem) for problem in trace.problems]
    header |= {"policy": to_plain(trace.policy), "problems": problems, "words": words}
    if trace.load_details is not None:
        columns[_DETAILS] = np.frombuffer(
            _details_to_bytes(trace.load_details(), packed=packed), dtype=np.uint8
        )
    return _archive(header, columns, packed=packed)


def _details_to_bytes(details: TraceDetails, *, packed: bool) -> bytes:
    columns: dict[str, NDArray[Any]] = {"freed_by": details.freed_by, "op_calls": details.op_calls}
    words: dict[str, list[Any]] = {"calls": [astuple(call) for call in details.calls]}
    for name in _WORDS:
        words[name], columns[name] = _encode(getattr(details, name))
    return _archive(words, columns, packed=packed)


def _archive(header: dict[str, Any], columns: dict[str, NDArray[Any]], *, packed: bool) -> bytes:
    for name in _COUNTING & columns.keys():
        columns[name] = np.diff(columns[name], prepend=0)
    columns[_HEADER] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    file = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(file, **columns)  # type: ignore[arg-type] # the stubs take `allow_pickle` for a column
    return file.getvalue()


def trace_from_bytes(data: bytes) -> Trace:
    """Rebuild a trace from `trace_to_bytes`.

    Raises:
        StoreError: the bytes are no such archive, or of another schema.
    """
    try:
        header, columns = _opened(data)
        if header["schema_version"] == SCHEMA_VERSION:
            return _assemble(header, columns)
    except Exception as error:  # zip, zlib, NumPy and JSON each fail in ways of their own on damaged bytes
        raise StoreError(f"not a readable trace: {error}") from error
    raise StoreError(f"the trace has schema {header['schema_version']}, and {SCHEMA_VERSION} is read")


@lru_cache(maxsize=4)
def _details_from_bytes(data: bytes) -> TraceDetails:
    try:
        words, columns = _opened(data)
        texts = {name: _decode([tupled(word) for word in words[name]], columns[name]) for name in _WORDS}
        calls = tuple(
            GrowingCall(tuple(form), tuple(constant), tuple(per_sample), divisor)
            for form, constant, per_sample, divisor in words["calls"]
        )
        return TraceDetails(freed_by=columns["freed_by"], op_calls=columns["op_calls"], calls=calls, **texts)
    except Exception as error:  # as above
        raise StoreError(f"not readable details of a trace: {error}") from error


def _opened(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        columns = dict(archive)
    for name in _COUNTING & columns.keys():
        columns[name] = np.cumsum(columns[name])
    return json.loads(columns.pop(_HEADER).tobytes()), columns


def _assemble(header: dict[str, Any], columns: dict[str, NDArray[Any]]) -> Trace:
    words, policy = header.pop("words"), header.pop("policy")
    problems = tuple(GrowingProblem(*tupled(problem)) for problem in header.pop("problems"))
    details = columns.pop(_DETAILS, None)
    events = np.where(columns.pop("frees"), -1, 1) * columns.pop("events")
    columns.setdefault(_STREAM, np.zeros_like(columns["tensors.op"]))
    tables: dict[str, dict[str, Any]] = {"tensors": {}, "ops": {}}
    for name, column in columns.items():
        table, _, column_name = name.partition(".")
        if column_name:
            tables[table][column_name] = column
    for name in ("names", "modules"):
        tables["ops"][name] = _decode(words[name], tables["ops"][name])
    plain = {name: tupled(value) for name, value in header.items()}
    return Trace(
        policy=from_plain(PolicyFacts, policy),
        tensors=TensorTable(**tables["tensors"]),
        ops=OpTable(**tables["ops"]),
        events=events,
        problems=problems,
        load_details=None if details is None else partial(_details_from_bytes, details.tobytes()),
        **plain,
    )


def _encode(words: Sequence[_Word]) -> tuple[list[_Word], NDArray[np.int64]]:
    """Return the distinct words in order of appearance, and each word's index among them."""
    index = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return list(index), np.array([index[word] for word in words], dtype=np.int64)


def _decode(words: list[_Word], codes: NDArray[Any]) -> tuple[_Word, ...]:
    return tuple(words[code] for code in codes.tolist())
