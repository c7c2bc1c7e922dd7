"""A `Trace` as bytes and back: one NumPy archive with a JSON header, no pickle."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actprof.errors import StoreError
from actprof.trace.model import SCHEMA_VERSION, OpTable, Parameter, PolicyFacts, TensorTable, Trace

_HEADER = "header"


def trace_to_bytes(trace: Trace) -> bytes:
    """Return the archive of `trace`."""
    columns: dict[str, NDArray[Any]] = {"events": trace.events}
    for name in ("constant", "per_sample", "kind", "op"):
        columns[f"tensors.{name}"] = getattr(trace.tensors, name)
    for field in fields(OpTable):
        if field.name not in ("names", "modules"):
            columns[f"ops.{field.name}"] = getattr(trace.ops, field.name)
    words: dict[str, list[str]] = {}
    for name in ("names", "modules"):
        words[name], columns[f"ops.{name}"] = _encode(getattr(trace.ops, name))
    plain = {
        name: getattr(trace, name)
        for name in (
            "schema_version", "key", "versions", "step_starts", "update_starts", "phase_starts", "carried",
            "batch_sizes", "fixed_batch_size", "assumptions", "trace_seconds",
        )
    }  # fmt: skip
    header = {**plain, "policy": asdict(trace.policy), "words": words}
    columns[_HEADER] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **columns)  # type: ignore[arg-type] # the stub takes `allow_pickle` for a column
    return file.getvalue()


def trace_from_bytes(data: bytes) -> Trace:
    """Rebuild a trace from `trace_to_bytes`; what an older file lacks takes its default.

    Raises:
        StoreError: the bytes are no such archive, or of a newer schema.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            columns = dict(archive)
        header = json.loads(columns.pop(_HEADER).tobytes())
        if header["schema_version"] <= SCHEMA_VERSION:
            return _assemble(header, columns)
    except Exception as error:  # zip, zlib, NumPy and JSON each fail in ways of their own on damaged bytes
        raise StoreError(f"not a readable trace: {error}") from error
    raise StoreError(f"the trace has schema {header['schema_version']}, newer than {SCHEMA_VERSION}")


def _assemble(header: dict[str, Any], columns: dict[str, NDArray[Any]]) -> Trace:
    words, policy = header.pop("words"), header.pop("policy")
    tables: dict[str, dict[str, Any]] = {"tensors": {}, "ops": {}}
    for name, column in columns.items():
        table, _, column_name = name.partition(".")
        if column_name:
            tables[table][column_name] = column
    for name in ("names", "modules"):
        tables["ops"][name] = _decode(words[name], tables["ops"][name])
    policy["parameters"] = tuple(Parameter(**row) for row in policy["parameters"])
    for name in ("components", "output_shape"):
        policy[name] = _tupled(policy[name])
    plain = {name: _tupled(value) for name, value in header.items()}
    return Trace(
        policy=PolicyFacts(**policy),
        tensors=TensorTable(**tables["tensors"]),
        ops=OpTable(**tables["ops"]),
        events=columns["events"],
        **plain,
    )


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


def _encode(words: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct words in order of appearance, and each word's index among them."""
    index = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return list(index), np.array([index[word] for word in words], dtype=np.int64)


def _decode(words: list[str], codes: NDArray[Any]) -> tuple[str, ...]:
    return tuple(words[code] for code in codes.tolist())
