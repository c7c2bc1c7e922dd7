"""Traces that come with actprof: answers where nothing is installed that could trace, or at once where it is.

One file a policy and number of cameras, all of its traces one after another in a tar archive under xz: they
differ in few numbers, so that one more costs a few hundred bytes. The first member says which traces there
are, and with which versions and defaults of the policy's config they were made.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from actprof.cell import Cell
from actprof.policies import policy_spec
from actprof.policies.libraries import missing_lerobot
from actprof.trace.derived import ANCHORS, Lengths, derive
from actprof.trace.model import Trace
from actprof.trace.storage import trace_from_bytes, trace_to_bytes
from actprof.versions import UNKNOWN, package_version

FOLDER = Path(__file__).parent / "shipped"
_INDEX = "index.json"
_HOW_MANY_RUN = "n_action_steps"  # actions of a chunk that the robot carries out; no more than the chunk has


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shelf:
    """What one file has.

    Attributes:
        path: the file.
        versions: of actprof, lerobot, torch and what else the policy is built of.
        defaults: of the policy's config, fields of JSON values.
        traces: what each trace is of, in the file's order; see `key_of`.
    """

    path: Path
    versions: Mapping[str, str]
    defaults: Mapping[str, Any]
    traces: tuple[str, ...]

    def key_of(self, cell: Cell, fixed_batch_size: int | None) -> str:
        """Return the canonical text of what a trace of `cell` is of: fields that change no size left out."""
        spec = policy_spec(cell.policy)
        key = cell.trace_key()
        changed = {
            name: value
            for name, value in cell.overrides.items()
            if name not in spec.sizeless and name not in spec.fixed and value != self.defaults.get(name)
        }
        chunk = cell.overrides.get("chunk_size", self.defaults.get("chunk_size"))
        run = cell.overrides.get(_HOW_MANY_RUN, self.defaults.get(_HOW_MANY_RUN))
        changed.pop(_HOW_MANY_RUN, None)
        if isinstance(chunk, int) and isinstance(run, int) and run > chunk:
            changed[_HOW_MANY_RUN] = run  # lerobot refuses it
        if spec.pads_task:
            key.pop("task_tokens", None)
        return json.dumps({**key, "overrides": changed, "batch_size": fixed_batch_size}, sort_keys=True)

    def holds_here(self) -> bool:
        """Tell whether a trace made here would be the same, or none can be made here."""
        if missing_lerobot():
            return True
        installed = {name: package_version(name) for name in self.versions if name != "actprof"}
        return all(version in (UNKNOWN, self.versions[name]) for name, version in installed.items())

    def find(self, cell: Cell) -> Trace | None:
        """Return the trace that holds for `cell`, as it is or derived; None when there is none."""
        key = json.dumps(cell.trace_key())
        traces = (_trace_of(self, key, fixed) for fixed in (None, cell.batch_size))
        return next((one for one in traces if one is not None and one.holds_for(cell.batch_size)), None)

    def one(self, cell: Cell, fixed: int | None) -> Trace | None:
        """Return the trace of exactly such a cell, of all batch sizes or of one; None when there is none."""
        number = self._number(cell, fixed)
        return None if number is None else _read(self.path, _stamp(self.path), (number,))[number]

    def _number(self, cell: Cell, fixed: int | None) -> int | None:
        key = self.key_of(cell, fixed)
        return self.traces.index(key) if key in self.traces else None

    def _has_full(self, cell: Cell, longest: str, length: int) -> bool:
        """Tell whether a state or action is as long as the policy makes all: it is not filled up then."""
        most = cell.overrides.get(longest, self.defaults.get(longest))
        return most is not None and length >= most

    def derived(self, cell: Cell, fixed: int | None) -> Trace | None:
        """Return the trace of exactly such a cell from those of other lengths of state and action."""
        if self._has_full(cell, "max_state_dim", cell.state_dim):
            return None
        if self._has_full(cell, "max_action_dim", cell.action_dim):
            return None
        like = self._number(with_lengths(cell, ANCHORS[0]), fixed)
        if like is None:
            return None
        anchors: list[list[Any]] = [
            [self._number(with_lengths(replace(cell, resolution=one), at), fixed) for at in ANCHORS]
            for one in dict.fromkeys(json.loads(text)["resolution"] for text in self.traces)
        ]
        triples = [numbers for numbers in anchors if None not in numbers]
        traces = _read(self.path, _stamp(self.path), (like, *chain.from_iterable(triples)))
        wanted = Lengths(cell.state_dim, cell.action_dim)
        made = (derive(traces[like], [traces[number] for number in numbers], wanted) for numbers in triples)
        return next((trace for trace in made if trace is not None), None)


@lru_cache(maxsize=64)
def _trace_of(shelf: Shelf, key: str, fixed: int | None) -> Trace | None:
    """Return the trace of a key, one object for all who ask: what else is known is kept by it."""
    cell = Cell.from_json(json.loads(key))
    found = shelf.one(cell, fixed) or shelf.derived(cell, fixed)
    if found is None:
        return None
    return replace(found, key=cell.trace_key(), versions=dict(shelf.versions), shipped=True)


def with_lengths(cell: Cell, lengths: Lengths) -> Cell:
    """Return the cell with a state and an action of such lengths."""
    return replace(cell, state_dim=lengths.state, action_dim=lengths.action)


def shipped_trace(cell: Cell) -> Trace | None:
    """Return the trace that holds for `cell` among those that come with actprof.

    None when there is none, or when what is installed here may trace otherwise.
    """
    shelf = shelf_of(cell)
    return shelf.find(cell) if shelf is not None and shelf.holds_here() else None


def what_is_shipped(cell: Cell) -> str:
    """Return in parentheses what comes with actprof, to be said where it is not what is asked for."""
    shelf = shelf_of(cell)
    if shelf is None:
        there = sorted({path.name.rpartition("-")[0] for path in FOLDER.glob("*.tar.xz")})
        return f" (there are some of {', '.join(there)}, with 1 to 3 cameras)"
    keys = [json.loads(text) for text in shelf.traces]
    resolutions = list(dict.fromkeys(key["resolution"] for key in keys))
    settings = dict.fromkeys(json.dumps(key["overrides"])[1:-1] for key in keys)
    said = "; ".join(text or "lerobot's defaults" for text in settings)
    title = policy_spec(cell.policy).title
    return f" (there are {title} with {cell.cameras_text} at {', '.join(resolutions)}: {said})"


def shelf_of(cell: Cell) -> Shelf | None:
    """Return what comes with actprof of the policy with as many cameras; None for nothing."""
    path = shelf_path(cell)
    return _shelf(path, _stamp(path)) if path.exists() else None


def shelf_path(cell: Cell) -> Path:
    """Return the file of the policy with as many cameras, whether it is there or not."""
    return FOLDER / f"{cell.policy}-{cell.cameras}.tar.xz"


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=64)
def _shelf(path: Path, _stamp: int) -> Shelf:
    index = json.loads(_members(path, {0})[0])
    return Shelf(path=path, **{**index, "traces": tuple(index["traces"])})


@lru_cache(maxsize=32)
def _read(path: Path, _stamp: int, numbers: tuple[int, ...]) -> dict[int, Trace]:
    """Return the traces with these numbers, all in one pass."""
    members = _members(path, {number + 1 for number in numbers})
    return {place - 1: trace_from_bytes(data) for place, data in members.items()}


def _members(path: Path, places: Collection[int]) -> dict[int, bytes]:
    """Return the members of the file at these places, index first; what comes after them is not read."""
    found = {}
    with tarfile.open(path, "r:xz") as archive:
        for place, member in enumerate(archive):
            file = archive.extractfile(member) if place in places else None
            if file is not None:
                found[place] = file.read()
            if len(found) == len(places):
                break
    return found


def write_shelf(shelf: Shelf, traces: Sequence[Trace]) -> bytes:
    """Return the file of `traces`, which are those that the shelf names, in its order."""
    index = {"versions": shelf.versions, "defaults": shelf.defaults, "traces": shelf.traces}
    named = {_INDEX: json.dumps(index).encode()}
    for number, trace in enumerate(traces):
        named[f"{number}.npz"] = trace_to_bytes(replace(trace, trace_seconds=0.0), packed=False)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:xz", preset=9) as archive:
        for name, data in named.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()
